"""The steps from media to rows, one module a step; pure code first, Beam around it."""
