"""The way that calls take to vCenter, before anybody has logged in.

pyVmomi's own SmartConnect is not used: it asks for the server's versions without a timeout, turns an answer
that was lost into a fault of vSphere's, and leaves its socket open when the login is refused.
"""

from __future__ import annotations

import http.client
import re
from typing import Any

from pyVmomi.SoapAdapter import SoapStubAdapter
from pyVmomi.VmomiSupport import GetServiceVersions, versionIdMap

from transferd.errors import UsageError
from transferd.vsphere import trust

HTTP_TIMEOUT = 60  # s for one SOAP call; vCenter answers property reads in seconds
VERSIONS = "/sdk/vimServiceVersions.xml"
MOST = 1 << 20  # bytes of it
STARTING = http.client.INTERNAL_SERVER_ERROR  # what a vCenter answers while it starts: 503 and the like


def stub(endpoint: trust.Endpoint) -> Any:
    """pyVmomi's adapter for this endpoint. OSError or HTTPException if it does not answer."""
    return SoapStubAdapter(
        host=endpoint.host,
        port=endpoint.port,
        version=_version(endpoint),
        sslContext=endpoint.context,
        httpConnectionTimeout=HTTP_TIMEOUT,
    )


def _version(endpoint: trust.Endpoint) -> str:
    """The newest version of the API that both sides speak."""
    asking = http.client.HTTPSConnection(
        endpoint.host, endpoint.port, timeout=trust.CONNECT_TIMEOUT, context=endpoint.context
    )
    try:
        asking.request("GET", VERSIONS)
        answer = asking.getresponse()
        text = answer.read(MOST).decode(errors="replace")
    finally:
        asking.close()
    if answer.status >= STARTING:
        raise http.client.HTTPException(f"{answer.status} {answer.reason}")
    spoken = set(re.findall("<version>([0-9A-Za-z.]+)</version>", text))
    for version in GetServiceVersions("vim25"):
        if versionIdMap[version] in spoken:
            return str(version)
    raise UsageError(
        f"{endpoint.host}:{endpoint.port} is no vCenter or ESXi host that can be spoken to",
        remedy="check the url",
    )
