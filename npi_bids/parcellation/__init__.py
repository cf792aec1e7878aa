"""Regional series from images: atlases, confounds, denoising and extraction."""
