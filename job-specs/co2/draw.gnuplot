# Draw the gathered table: the series with the level of each window, and how fast it grows, with confidence limits.
series = system('echo "$DSG_INPUT_SERIES"')
windows = system('echo "$DSG_INPUT_WINDOWS"')
set terminal pngcairo size 1100,1100 font "DejaVu Sans,11" enhanced
set output system('echo "$DSG_OUTPUT_DIR"')."/co2.png"
set datafile separator ","
set border 3 linecolor rgb "#22303c"
set tics nomirror
set grid ytics linecolor rgb "#d9dee3" linetype 1
set key top left reverse Left
set lmargin 10
set xrange [1957:2003]
# 19580329 as a decimal year; weeks without a value are not drawn.
year(d) = (y = int(d / 10000), m = int(d / 100) % 100, day = int(d) % 100, y + (m - 1) / 12.0 + (day - 1) / 365.25)
set multiplot layout 3,1 title "Mauna Loa, 1958–2001: two-year windows fitted as chunks, joined as one table" font ",14"
set ylabel "CO_2 (ppm)"
plot series using (year($1)):2 every ::1 with lines linewidth 1 linecolor rgb "#2f6db3" title "weekly mean", \
     windows using "middle":"ppm" with points pointtype 7 pointsize 0.8 linecolor rgb "#c8553d" title "level of each window"
unset key
set ylabel "growth (ppm/yr)"
plot windows using "middle":"growth_ppm_per_year":"growth_low":"growth_high" with yerrorlines pointtype 7 pointsize 0.8 linecolor rgb "#c8553d"
set ylabel "season (ppm, peak to trough)"
set xlabel "year; bars are 95 % confidence limits from a moving-block bootstrap"
plot windows using "middle":"season_ppm":"season_low":"season_high" with yerrorlines pointtype 7 pointsize 0.8 linecolor rgb "#c8553d"
unset multiplot
