"""What tests need of npm: installed once, into a folder of the virtual environment that is named after the versions."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

FOLDER = Path(sys.prefix) / "share" / "progresskit-tests"
PACKAGES = {
    "@types/react": "^19.0.0",
    "@vitejs/plugin-vue": "^5.2.0",
    "axe-core": "^4.10.0",
    "htmx-ext-sse": "^2.2.2",
    "htmx.org": "^2.0.4",
    "react": "^19.0.0",
    "react-dom": "^19.0.0",
    "typescript": "^5.6.0",
    "vite": "^6.0.0",
    "vue": "^3.5.0",
    "vue-tsc": "^2.1.0",
}
NEWEST = "2026-12-07"
"""No version that was published after this day is installed, also of what these packages bring."""

SECONDS = 240

STRICT = {
    "strict": True,
    "skipDefaultLibCheck": True,  # TypeScript's own declarations of what browsers have
    "noEmit": True,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "jsx": "react-jsx",
    "types": [],
}

ROOT = Path(__file__).parents[2]
MODULES = [ROOT / "progresskit" / "web" / name for name in ("progresskit.js", "progress-group.js")]


def install(npm: str) -> Path:
    """Return the folder `node_modules`; an OSError or a SubprocessError where it is not there and cannot be made."""
    listed = json.dumps({"private": True, "dependencies": PACKAGES})
    newest = "" if os.environ.get("LATEST") else NEWEST
    home = FOLDER / sha256((listed + newest).encode()).hexdigest()[:16]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several test processes, one installs
        if not home.exists():
            fresh = home.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            (fresh / "package.json").write_text(listed)
            command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
            if newest:
                command += ["--before", newest]
            subprocess.run(command, cwd=fresh, check=True, capture_output=True, timeout=SECONDS)
            fresh.rename(home)
    return home / "node_modules"


def lay_out(folder: Path, modules: Path) -> None:
    """Make `node_modules` in a folder: those that are installed, and the package of this project as it would be."""
    here = folder / "node_modules"
    here.mkdir(parents=True)
    for module in modules.iterdir():
        (here / module.name).symlink_to(module)
    ours = here / "progresskit"
    shutil.copytree(ROOT / "npm", ours)
    for path in MODULES:
        shutil.copy(path, ours)


def complaints(folder: Path, *files: str) -> str:
    """Return what TypeScript's compiler, in Vue's extension of it, says of files in a folder that is laid out."""
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": STRICT, "files": files}))
    command = [str(folder / "node_modules" / ".bin" / "vue-tsc"), "--pretty", "false"]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return process.stdout + process.stderr or "failed" * (process.returncode != 0)
