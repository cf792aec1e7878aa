#!/usr/bin/env bash
# Test an image: run both levels on the demo data, offline, with a read-only root, as an unknown user.
# usage: test_image.sh DEMO_FOLDER RUN...     (RUN: a command that starts the image, such as
#        docker run --rm --network none --read-only --tmpfs /tmp -u 12345 -v FOLDER:/data:ro ...)
# The folder is the one that `npi-bids-demo FOLDER` wrote; it must be mounted at /data, and a folder
# that anyone may write to at /out.
set -euo pipefail
folder=$1; shift
"$@" --version
"$@" /data/dataset /out/result participant group --offline --fd-thresh 0.5 \
  --atlas /data/atlas-Dosenbach20_space-MNI152NLin6Asym_dseg.nii.gz
test -f "$folder/truth.tsv"
echo "the image works"
