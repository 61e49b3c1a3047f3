#!/usr/bin/env bash
# python-environment.sh FOLDER NAME: a virtual environment with what NAME-requirements.txt lists, made once. PyTorch is
# its build for processors if that index can be reached, else what the package index has (with CUDA: several GB).
set -euo pipefail
venv=$1 name=$2
here=$(dirname "${BASH_SOURCE[0]}")
requirements=$here/$name-requirements.txt

# Kept beside what was installed, and written last: an interrupted installation is taken up again.
wanted=$(cat "$here/interop-requirements.txt" "$requirements")
if [ "$wanted" = "$(cat "$venv/$name.installed" 2>/dev/null)" ]; then exit 0; fi
command -v python3 >/dev/null || { echo "error: python3 is not installed (apt-get install python3-venv)" >&2; exit 69; }
python3 -m venv "$venv" || { echo "error: no virtual environment (apt-get install python3-venv)" >&2; exit 69; }
pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input)
torch=$(grep '^torch==' "$here/interop-requirements.txt")
echo "Installing PyTorch and what goes with it into $venv"
"${pip[@]}" install -q --retries 1 --timeout 20 --index-url https://download.pytorch.org/whl/cpu "$torch" ||
  "${pip[@]}" install -q "$torch"
"${pip[@]}" install -q -r "$requirements"
printf '%s\n' "$wanted" >"$venv/$name.installed"
