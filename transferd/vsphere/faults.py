"""vSphere's faults and the network's errors as ours. Every call to vCenter is made inside `translated`."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyVmomi import vim, vmodl

from transferd.errors import AuthenticationError, RetriesExhausted, SourceError


def text(fault: Any) -> str:
    """What a fault says; vSphere fills one field or the other."""
    return str(getattr(fault, "localizedMessage", None) or getattr(fault, "msg", None) or "no message")


@contextmanager
def translated(operation: str, vm: str | None = None) -> Iterator[None]:
    """RetriesExhausted where vCenter did not answer: whoever may ask again, does."""
    try:
        yield
    except (vim.fault.InvalidLogin, vim.fault.NoPermission) as error:
        raise AuthenticationError(
            f"{type(error).__name__.rpartition('.')[2]}: vCenter refused the login or the permission",
            vm=vm,
            operation=operation,
            remedy="check username, passwordFile and the role's privileges; it is not tried again",
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise AuthenticationError(
            f"certificate refused: {error.verify_message}",
            operation=operation,
            remedy="give the right caFile, or a thumbprint that you have checked",
        ) from error
    except vmodl.fault.ManagedObjectNotFound as error:
        raise SourceError("is gone from the inventory", vm=vm, operation=operation) from error
    except vmodl.MethodFault as error:
        raise SourceError(
            f"{type(error).__name__.rpartition('.')[2]}: {text(error)}", vm=vm, operation=operation
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise RetriesExhausted(
            f"vCenter does not answer: {error}", vm=vm, operation=operation, remedy="check url and network"
        ) from error
