#!/usr/bin/env bash
# Build the image, run it offline with a read-only root as an unknown user without HOME, and compare
# its results, bit for bit, with those of npi-bids outside. Where there is Charliecloud, the image is
# also flattened, as Apptainer does it, and run with nothing of the host's environment.
#
# usage: docker/test_image.sh TOOL [ATLAS_CACHE] [BUILD_OPTION...]
#
# TOOL         a script with `build TAG CONTEXT DOCKERFILE OPTION...`, `run TAG OPTION... -- WORD...`,
#              which is offline with a read-only root and a /tmp of its own, and, for Charliecloud,
#              `sqfs TAG FILE`; or: docker
# ATLAS_CACHE  folder of nilearn with the atlases of the image; where it is missing they are downloaded
# PYTHON       the Python outside (python), with the same versions of packages: docker/requirements.txt
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
tool=$1; cache=${2:-}; shift $(( $# > 1 ? 2 : 1 ))
python=${PYTHON:-python}
tag=${TAG:-npi-bids:test}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

build() {
  if [ "$tool" = docker ]; then docker build "$@" -t "$tag" -f "$scratch/context/docker/Dockerfile" "$scratch/context"
  else bash "$tool" build "$tag" "$scratch/context" "$scratch/context/docker/Dockerfile" "$@"; fi
}
run() {  # options of the engine, then -- and the words of the command
  local options=()
  while [ "$1" != -- ]; do options+=("$1"); shift; done; shift
  if [ "$tool" = docker ]; then docker run --rm --network none --read-only --tmpfs /tmp "${options[@]}" "$tag" "$@"
  else bash "$tool" run "$tag" "${options[@]}" -- "$@"; fi
}
flatten() {  # into a SquashFS file
  if [ "$tool" = docker ]; then
    local container; container=$(docker create "$tag"); mkdir "$scratch/flat"
    docker export "$container" | tar -x -C "$scratch/flat"; docker rm "$container" > /dev/null
    mksquashfs "$scratch/flat" "$1" -noappend -quiet -no-progress -comp lz4; rm -rf "$scratch/flat"
  else bash "$tool" sqfs "$tag" "$1"; fi
}

mkdir "$scratch/context"
(cd "$root" && git ls-files -z | xargs -0 cp --parents -P -t "$scratch/context")
version=$(cd "$root" && "$python" -m setuptools_scm 2>/dev/null | tail -n 1)
if [ -n "$cache" ]; then cp -rL "$cache/." "$scratch/context/docker/atlases/"; fi
if [ -z "${SKIP_BUILD:-}" ]; then
  started=$SECONDS
  build --build-arg "VERSION=$version" --build-arg "REVISION=$(git -C "$root" rev-parse HEAD)" "$@"
  echo "built in $(( SECONDS - started )) s"
fi

echo "== version, and a help without network, HOME and known user"
run --user 23456:23456 -- --version
run --user 23456:23456 -- --help > /dev/null
echo "== a signal reaches the program"
# shellcheck disable=SC2016
run --user 23456:23456 --entrypoint sh -- -c 'tini -- npi-bids-demo /tmp/demo & pid=$!; sleep 8; kill -TERM $pid; wait $pid; test $? = 143'
echo "== atlases are in the image"
run --user 23456:23456 --entrypoint npi-bids-fetch -- --offline Schaefer2018:scale-100 Power2011
echo "== SBOM and licences"
run --user 23456:23456 --entrypoint sh -- -c 'grep -c "\"bom-ref\"" /opt/npi-bids/share/npi-bids/sbom.cdx.json'

echo "== size of the files in the image"
run --user 0:0 --entrypoint du -- -shx /

echo "== results, inside and outside"
mkdir "$scratch/data" "$scratch/out"; chmod 777 "$scratch" "$scratch/out"
"$python" -c "
from pathlib import Path
from npi_bids.simulate.demo import write_demo
for _ in write_demo(Path('$scratch/data')): pass"
atlas=$(cd "$scratch/data" && ls atlas-*.nii.gz)
options=(participant group --offline --fd-thresh 0.5 --n-procs 2)
started=$SECONDS
run --user 23456:23456 -v "$scratch/data:/data:ro" -v "$scratch/out:/out" -- \
  /data/dataset /out/inside "${options[@]}" --atlas "/data/$atlas" -w /tmp/work
echo "run inside in $(( SECONDS - started )) s"
"$python" -m npi_bids "$scratch/data/dataset" "$scratch/out/outside" "${options[@]}" \
  --atlas "$scratch/data/$atlas" -w "$scratch/work"
others=(inside)
if command -v ch-run > /dev/null; then
  echo "== flattened, under Charliecloud"
  flatten "$scratch/npi-bids.sqfs"
  du -h "$scratch/npi-bids.sqfs" | cut -f 1
  # Charliecloud, as Apptainer with --cleanenv, takes the environment of the image alone.
  run --entrypoint env -- | grep -vE '^(HOSTNAME|TERM|container)=' > "$scratch/environment"
  sed -i 's#^NPI_BIDS_CONTAINER=docker://#NPI_BIDS_CONTAINER=charliecloud://#' "$scratch/environment"
  echo "NPI_BIDS_TEST=$scratch" >> "$scratch/environment"
  started=$SECONDS
  USER=${USER:-root} ch-run --unset-env='*' --set-env="$scratch/environment" --private-tmp \
    --bind "$scratch:/mnt" "$scratch/npi-bids.sqfs" -- npi-bids \
    /mnt/data/dataset /mnt/out/flattened "${options[@]}" --atlas "/mnt/data/$atlas" -w /tmp/work
  echo "run flattened in $(( SECONDS - started )) s"
  # Nothing ends the server of worker processes with the container; it needs the image until it ends.
  started=$SECONDS
  while grep -qsa "NPI_BIDS_TEST=$scratch" /proc/[0-9]*/environ; do
    if (( SECONDS - started > 60 )); then echo "processes are left after 60 s"; exit 1; fi
    sleep 0.2
  done
  others+=(flattened)
fi
"$python" - "$scratch/out" "${others[@]}" <<'PY'
import json, re, sys
from pathlib import Path

root = Path(sys.argv[1])
# The image has the version of its tag and the Python of its base; all else must be the same.
VERSIONS = (rb'"(npi-bids|python)": "[^"]+"', rb"estimated by npi-bids \S+")


def contents(folder):
    files = {}
    for path in sorted((root / folder).rglob("*")):
        name = path.relative_to(root / folder)
        # Pages and logs quote commands, folders and times.
        if path.is_file() and name.parts[0] != "logs" and path.suffix not in (".html", ".svg"):
            text = path.read_bytes()
            for pattern in VERSIONS:
                text = re.sub(pattern, b"", text)
            files[str(name)] = text
    description = json.loads(files.pop("dataset_description.json"))
    return files, description


outside, _ = contents("outside")
code = 0
for name in sys.argv[2:]:
    inside, about = contents(name)
    assert about["GeneratedBy"][0].get("Container"), "the description names no container"
    differ = [file for file in sorted(inside.keys() | outside.keys()) if inside.get(file) != outside.get(file)]
    print(f"{name}: {len(inside)} files, {len(differ)} differ", *differ[:20], sep="\n  ")
    code = code or int(bool(differ) or len(inside) < 50)
sys.exit(code)
PY
echo "the image works"
