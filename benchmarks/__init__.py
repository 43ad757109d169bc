"""What hubpush is measured with; no part of the package."""
