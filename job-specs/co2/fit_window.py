"""Fit trend and seasons to one window of weekly CO2, with confidence limits from a moving-block bootstrap.

The model is Keeling's: a straight line plus two harmonics of the year. Weeks without a value are left out. The residuals are
correlated from week to week, so blocks of eight weeks are drawn, not single weeks.
"""
import csv
import json
import os
import sys
from datetime import date

import numpy as np

BLOCK_WEEKS = 8


def decimal_year(text):
    day = date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    first = date(day.year, 1, 1)
    return day.year + (day - first).days / (date(day.year + 1, 1, 1) - first).days


def design(years, middle):
    angle = 2 * np.pi * years
    return np.column_stack(
        [np.ones_like(years), years - middle, np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    )


def amplitude(coefficients):
    """Peak to trough of the seasonal part, in ppm."""
    angle = 2 * np.pi * np.linspace(0, 1, 365, endpoint=False)
    waves = np.vstack([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)])
    season = coefficients[..., 2:6] @ waves
    return season.max(axis=-1) - season.min(axis=-1)


def main():
    with open(os.environ["DSG_ITEMS_FILE"]) as lines:
        weeks = [json.loads(line) for line in lines]
    weeks = [week for week in weeks if week["co2"] not in ("", None)]
    years = np.array([decimal_year(str(week["date"])) for week in weeks])
    ppm = np.array([float(week["co2"]) for week in weeks])
    middle = years.mean()
    matrix = design(years, middle)
    best, *_ = np.linalg.lstsq(matrix, ppm, rcond=None)
    fitted = matrix @ best
    residuals = ppm - fitted

    random = np.random.default_rng(int(os.environ["DSG_SEED"]) % 2**63)
    draws = int(os.environ["PARAM_DRAWS"])
    blocks = -(-len(ppm) // BLOCK_WEEKS)
    starts = random.integers(0, len(ppm) - BLOCK_WEEKS + 1, size=(draws, blocks))
    picks = (starts[:, :, None] + np.arange(BLOCK_WEEKS)).reshape(draws, -1)[:, : len(ppm)]
    solved = np.linalg.pinv(matrix) @ (fitted + residuals[picks]).T
    growth_low, growth_high = np.percentile(solved[1], [2.5, 97.5])
    season_low, season_high = np.percentile(amplitude(solved.T), [2.5, 97.5])

    row = {
        "start": f"{years[0]:.3f}",
        "middle": f"{middle:.3f}",
        "stop": f"{years[-1]:.3f}",
        "weeks": len(ppm),
        "ppm": f"{best[0]:.3f}",
        "growth_ppm_per_year": f"{best[1]:.3f}",
        "growth_low": f"{growth_low:.3f}",
        "growth_high": f"{growth_high:.3f}",
        "season_ppm": f"{amplitude(best):.3f}",
        "season_low": f"{season_low:.3f}",
        "season_high": f"{season_high:.3f}",
        "noise_ppm": f"{residuals.std(ddof=6):.3f}",
    }
    with open(os.path.join(os.environ["DSG_OUTPUT_DIR"], "window.csv"), "w", newline="") as file:
        table = csv.DictWriter(file, row)
        table.writeheader()
        table.writerow(row)
    print(f"{row['start']} to {row['stop']}: {row['weeks']} weeks, {draws} draws")
    print(f"growth {row['growth_ppm_per_year']} ppm/yr (95%: {row['growth_low']} to {row['growth_high']})")
    print(f"season {row['season_ppm']} ppm (95%: {row['season_low']} to {row['season_high']})", file=sys.stderr)


main()
