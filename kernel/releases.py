"""The releases of FTGO, and which of them may work on the same data at the same time: docs/upgrading.md."""

from shared.core.releases import Release, Releases

RELEASES = Releases(
    (
        Release(1, "0.1.0", beside=1, commit="43c9deb984bf6fdefb1031b1e684160ccb5b15b3"),
        Release(2, "0.2.0", beside=1),
    ),
    guide="docs/upgrading.md",
)
