# SPDX-License-Identifier: Apache-2.0
"""A picture of the review page over a dataset, for the documents.

    python scripts/shoot_review.py runs/demo/session --episode 1 --out docs/img/review.png

Nothing is written into the dataset. Needs the browser that the tests of the pages use.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")  # None: Playwright's own


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--episode", type=int, default=0, help="number of the episode that is open")
    parser.add_argument("--seconds", type=float, default=4.0, help="moment of it that is shown")
    parser.add_argument("--out", type=Path, required=True, help=".png")
    options = parser.parse_args()
    review = ["run", "rove_recorder", "review", str(options.dataset), "--port", "0", "--by", "operator"]
    command = [sys.executable, "-m", "rove_bringup.cli", *review]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = next(found[0] for line in server.stdout if (found := re.search(r"https?://\S+", line)))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(address)
            page.get_by_text(f"Episode {options.episode}", exact=True).first.click()
            page.wait_for_timeout(1500)  # ms: pictures arrive
            for _ in range(round(options.seconds)):
                page.keyboard.press("Shift+ArrowRight")
            page.wait_for_timeout(1500)
            page.screenshot(path=options.out)
            browser.close()
    finally:
        server.terminate()
        server.wait(10)
    print(f"{options.out}: {options.out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
