"""What is made for a release beside the package itself: manual pages, a bill of materials, reproducible archives."""
