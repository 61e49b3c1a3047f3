#!/usr/bin/env bash
# Checks for Swift, and installs the Debian packages that Package.swift's system libraries need. Does nothing if all are
# there. Package.swift is the only list: the tools version in its first line, `pkgConfig` and `providers` further down.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { printf '%s\n' "$*"; }
fail() {
  printf '%s\n' "$@" >&2
  exit 69
}

needed=$(sed -n '1s/^[^:]*: *\([0-9.]*\).*/\1/p' Package.swift)
how_to_get_swift="Get it from https://www.swift.org/install/linux/ (swiftly or a package), then run this again."

command -v swift >/dev/null || fail "Swift is not installed; $needed or later is needed." "$how_to_get_swift"
found=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9.]*\).*/\1/p' | head -n 1)
[ -n "$found" ] || fail "\`swift --version\` fails or names no version." "$how_to_get_swift"
if [ "$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)" != "$needed" ]; then
  fail "Swift $found is too old; $needed or later is needed." "$how_to_get_swift"
fi

# Lines of "pkg-config module, Debian package".
libraries=$(tr '\n' ' ' <Package.swift | tr -s ' ' |
  grep -oE 'pkgConfig: "[^"]+", providers: \[ ?\.apt\(\["[^"]+"\]\) ?\]' |
  sed -E 's/pkgConfig: "([^"]+)".*\["([^"]+)"\].*/\1 \2/')

find_missing() {
  missing=()
  command -v pkg-config >/dev/null || missing+=(pkg-config)
  local module package
  while read -r module package; do
    pkg-config --exists "$module" 2>/dev/null || missing+=("$package")
  done <<<"$libraries"
}

find_missing
if [ ${#missing[@]} -eq 0 ]; then
  say "Swift $found and all libraries are there."
  exit 0
fi

say "Missing: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  fail "This is not Debian or Ubuntu: install what these packages hold with your own package manager." \
    "pkg-config must then find: $(cut -d ' ' -f 1 <<<"$libraries" | paste -sd ' ')"
fi
if [ "$(id -u)" -eq 0 ]; then
  as_root=(env)
elif command -v sudo >/dev/null && [ -t 0 ]; then
  as_root=(sudo)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root=(sudo -n)
else
  fail "They need root. Run as root: apt-get install ${missing[*]}"
fi
say "Installing them: apt-get install ${missing[*]}"
quietly=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends)
install=("${as_root[@]}" "${quietly[@]}" "${missing[@]}")
# The package lists may be absent (containers) or stale, so a failure is tried once more with fresh ones.
"${install[@]}" </dev/null || { "${as_root[@]}" apt-get update -q && "${install[@]}" </dev/null; } ||
  fail "apt-get could not install them (see above). By hand: apt-get update && apt-get install ${missing[*]}"
find_missing
[ ${#missing[@]} -eq 0 ] || fail "Installed, but pkg-config still does not find what these hold: ${missing[*]}"
say "Swift $found and all libraries are there."
