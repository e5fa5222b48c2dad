package view

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Bytes writes a size with binary units: 1.2 GiB.
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1023.95 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// Duration writes a span as a person would, by its two largest units: 3.2s, 4m10s, 5h20m, 3d4h.
func Duration(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return twoUnits(d.Round(time.Second), time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return twoUnits(d.Round(time.Minute), time.Hour, "h", time.Minute, "m")
	default:
		return twoUnits(d, 24*time.Hour, "d", time.Hour, "h")
	}
}

func twoUnits(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	text := fmt.Sprint(int64(d/large)) + largeName
	if rest := d % large / small; rest > 0 {
		text += fmt.Sprint(int64(rest)) + smallName
	}
	return text
}

// Time writes a moment in UTC to the second.
func Time(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// Table writes rows under headers in aligned columns; cells may be painted.
func (t *Terminal) Table(headers []string, rows [][]string) {
	widths := make([]int, len(headers))
	for i, h := range headers {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], visible(c))
		}
	}
	var b strings.Builder
	line := func(cells []string, paint func(string) string) {
		for i, c := range cells {
			if i == len(cells)-1 {
				b.WriteString(paint(c))
				break
			}
			b.WriteString(paint(c) + strings.Repeat(" ", widths[i]-visible(c)+2))
		}
		b.WriteString("\n")
	}
	line(headers, t.Bold)
	for _, row := range rows {
		line(row, func(s string) string { return s })
	}
	fmt.Fprint(t, b.String())
}

// visible counts the runes that a terminal shows.
func visible(s string) int {
	n, escape := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n++
		}
	}
	return n
}
