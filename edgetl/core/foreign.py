"""Files and folders that other tools leave in any folder; they are no data and no part of a bundle."""

from __future__ import annotations

# Beside hidden ones (.git, .ipynb_checkpoints, .thumbnails, ._photo.jpg): network disks, recycle bins, archives, file managers, trainers.
TOOLS = frozenset(
    name.casefold()
    for name in (
        *("@eaDir", "@Recycle", "@Recently-Snapshot", "@Transcode", "@tmp", "#recycle", "#snapshot", "_gsdata_"),
        *("$RECYCLE.BIN", "RECYCLER", "RECYCLED", "System Volume Information", "FOUND.000", "lost+found"),
        *("__MACOSX", "Network Trash Folder", "Temporary Items", "TheVolumeSettingsFolder"),
        *("Thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "Icon\r"),
        *("__pycache__", "node_modules", "lightning_logs", "mlruns", "wandb"),
    )
)


def visible(name: str) -> bool:
    """Whether a file or folder of that name counts."""
    return not name.startswith(".") and name.casefold() not in TOOLS
