package benchmark

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// cell writes milliseconds with as many digits as say something.
func cell(ms float64) string {
	switch {
	case ms < 0:
		return "-" + cell(-ms)
	case ms == 0:
		return "0"
	case ms < 1:
		return fmt.Sprintf("%.3f", ms)
	case ms < 10:
		return fmt.Sprintf("%.2f", ms)
	case ms < 1_000:
		return fmt.Sprintf("%.1f", ms)
	}
	return thousands(ms)
}

// thousands writes a number of at least four digits with a comma.
func thousands(ms float64) string {
	text := fmt.Sprintf("%.0f", ms)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// figures writes a median with what it is spread over.
func figures(f Figures) string {
	if f.Count == 0 {
		return "0"
	}
	return fmt.Sprintf("%s (%s–%s, %d)", cell(f.P50), cell(f.P10), cell(f.P90), f.Count)
}

// Print writes the old analysis, before and after, and the ways of one prompt.
func (s *Sources) Print(w io.Writer) {
	rows := [][]string{{"SOURCE OF LATENCY", "PUBLISHED", "BEFORE ms", "AFTER ms", "SAVED ms"}}
	var how []string
	for i, source := range s.Sources {
		name := fmt.Sprintf("%d %s", i+1, source.Name)
		if source.Simulated {
			name += " *"
		}
		rows = append(rows, []string{name, cmp.Or(source.Former, "–"), figures(source.Before), figures(source.After), cell(source.Saved())})
		how = append(how, fmt.Sprintf("  %d %s", i+1, source.How))
	}
	rows = append(rows, []string{"one request alone", thousands(s.Former) + " ms", cell(s.Before), cell(s.After), cell(s.Before - s.After)})
	fmt.Fprintln(w, "\nWhere the time went: medians (p10–p90, count), every round measured both ways")
	grid(w, rows)
	fmt.Fprintf(w, "\nHow it was measured; * before is simulated\n%s\n", strings.Join(how, "\n"))
	fmt.Fprintf(w, "  One request alone: before, sources 1, 2, 4 and 5 together; after, a whole request on a warm worker. On the direct path: %s ms.\n", cell(s.Direct))

	rows = [][]string{{"ONE PROMPT, EACH WAY", "ms", "BIND ms", ""}}
	for _, way := range s.Ways {
		bind := "–"
		if way.Bind != nil {
			bind = cell(way.Bind.P50)
		}
		rows = append(rows, []string{way.Name, figures(way.Took), bind, way.What})
	}
	fmt.Fprintln(w)
	grid(w, rows)
	fmt.Fprintf(w, "\n%s\n", s.Honest())
}

// grid writes rows in columns: the first and the last to the left, those between to
// the right.
func grid(w io.Writer, rows [][]string) {
	width := map[int]int{}
	for _, row := range rows {
		for c, text := range row {
			width[c] = max(width[c], utf8.RuneCountInString(text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for c, text := range row {
			padding := strings.Repeat(" ", width[c]-utf8.RuneCountInString(text))
			switch {
			case c == 0:
				line.WriteString("  " + text + padding)
			case c == len(row)-1 && strings.ContainsAny(rows[len(rows)-1][c], " "):
				line.WriteString("   " + text)
			default:
				line.WriteString("   " + padding + text)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}
