"""The ground: tables on disk, progress, statistics."""
