"""What the fork server imports first, so that it imports the rest faster."""

from npi_bids.io.garbage import collect_garbage_less_often

collect_garbage_less_often()
