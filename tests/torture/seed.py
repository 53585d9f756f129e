"""The first seed of today's samples: new every day, the same all day, and in the header of every test run."""

from datetime import UTC, datetime

TODAY = datetime.now(tz=UTC).date().toordinal() * 100_000
