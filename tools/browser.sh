#!/usr/bin/env bash
# Make sure that a Chromium is at hand for the tests of the HTML report; print its path.
# Looked for: $FEEDERLAB_BROWSER, chromium and Google Chrome on the PATH, playwright's own.  Else it is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

find_browser() {
  local name
  for name in "${FEEDERLAB_BROWSER:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    if [ -n "$name" ] && command -v "$name"; then return; fi
  done
  [ -x .venv/bin/python ] && .venv/bin/python - <<'PYTHON'
import os
import sys

from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    path = playwright.chromium.executable_path
if not os.path.exists(path):
    sys.exit(1)
print(path)
PYTHON
}

find_browser && exit
if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
  sudo=$([ "$(id -u)" = 0 ] || echo "sudo -n")
  echo "installing chromium for the tests of the report" >&2
  # Ubuntu's package of this name is a snap, which does not run everywhere: then playwright's download is tried.
  { $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
    $sudo apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null || true
  find_browser && exit
fi
[ -x .venv/bin/playwright ] && .venv/bin/playwright install chromium >&2 || true
find_browser && exit
echo "no Chromium was found for the tests of the report. Install one, then run make again:" >&2
echo "  Debian:   sudo apt-get install chromium" >&2
echo "  any:      .venv/bin/playwright install --with-deps chromium" >&2
echo "  or name one: FEEDERLAB_BROWSER=/path/to/chrome make test" >&2
exit 1
