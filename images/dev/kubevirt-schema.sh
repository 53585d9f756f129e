#!/bin/sh
# Extracts KubeVirt's OpenAPI document, which tests check manifests against, from its Go module:
#
#     images/dev/kubevirt-schema.sh [OUTPUT_DIR]        (default ~/.cache/transferd/kubevirt)
#
# Prints the path of the document, OUTPUT_DIR/VERSION/swagger.json. A second run does nothing else.
# $GO names the Go command when it is not `go` on PATH. The document is extracted and not committed:
# it is 700 KB of somebody else's text that one pinned sum describes as well.
set -eu

# The one place where KubeVirt's version is pinned. The sum is that of go.sum: of the module's whole tree.
version=v1.8.2
sum='h1:qUnQPvFHlNqA4aQxvKCyX+mfgwE4mwELM82cOJ75ujE='

# 30 MB from a module proxy; a slow one must not hold the build for ever.
deadline=900

die() {
    echo "kubevirt-schema.sh: $1" >&2
    exit 1
}

# The value of one member of the flat JSON object that `go mod download -json` prints, a member a line.
member() {
    printf '%s\n' "$module" | sed -n "s|^[[:space:]]*\"$1\": \"\\(.*\\)\",\\{0,1\\}\$|\\1|p"
}

output=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/transferd/kubevirt}/$version
document=$output/swagger.json
if [ -s "$document" ]; then
    echo "$document"
    exit 0
fi

go=${GO:-go}
command -v "$go" >/dev/null || die "no Go command '$go'; install Go 1.26 or set GO to its path"

# Outside any module, so that no go.mod or go.work of the caller has a say.
module=$(cd / && GOWORK=off timeout "$deadline" "$go" mod download -json "kubevirt.io/kubevirt@$version") ||
    die "cannot download kubevirt.io/kubevirt@$version: $(member Error)"
[ "$(member Sum)" = "$sum" ] ||
    die "kubevirt.io/kubevirt@$version has sum $(member Sum), not the pinned $sum; do not use it"

# Renamed into place, so that an interrupted run leaves no half document that looks whole.
mkdir -p "$output"
cp "$(member Dir)/api/openapi-spec/swagger.json" "$document.$$"
chmod 0644 "$document.$$"
mv "$document.$$" "$document"
echo "$document"
