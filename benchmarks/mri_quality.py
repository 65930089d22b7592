"""All three quality benchmarks: real phantom, semi-real slices, in-vivo brain.

python -m benchmarks.mri_quality [--pictures FOLDER]
"""

from __future__ import annotations

from benchmarks import quality_in_vivo, quality_phantom, quality_semi_real
from benchmarks.measure import one_thread, pictures_folder

if __name__ == "__main__":
    one_thread()
    folder = pictures_folder()
    for benchmark in (quality_phantom, quality_in_vivo, quality_semi_real):
        benchmark.main(folder)
