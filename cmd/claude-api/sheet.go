package main

import (
	"bufio"
	"strings"
	"time"
	"unicode/utf8"
)

// sheet gathers rows until all are there, because a column is as wide as its widest
// cell. Numbers stand at the right of their column, and all amounts of money of a
// column have as many digits as the one that needs most.
type sheet struct {
	titles []string
	rows   [][]any // values as column.value gives them
	colors bool
}

// gap is what parts two columns.
const gap = "  "

// write prints the titles and the rows.
func (t *sheet) write(out *bufio.Writer) {
	lines := make([][]string, 1+len(t.rows))
	lines[0] = t.titles
	for i := range t.rows {
		lines[1+i] = make([]string, len(t.titles))
	}
	width, right := make([]int, len(t.titles)), make([]bool, len(t.titles))
	for c := range t.titles {
		digits := 0
		for _, row := range t.rows {
			digits = max(digits, moneyDigits(row[c]))
		}
		for i, row := range t.rows {
			lines[1+i][c] = cellText(row[c], digits)
		}
		for _, line := range lines {
			width[c] = max(width[c], utf8.RuneCountInString(line[c]))
		}
		right[c] = t.numbers(c)
	}
	// A bufio.Writer keeps its first error, which Flush gives.
	for i, line := range lines {
		for c, text := range line {
			padding := strings.Repeat(" ", width[c]-utf8.RuneCountInString(text))
			last := c == len(line)-1
			if t.colors {
				text = t.style(i, c).wrap(text)
			}
			switch {
			case right[c]:
				text = padding + text
			case !last:
				text += padding
			}
			if !last {
				text += gap
			}
			_, _ = out.WriteString(text)
		}
		_ = out.WriteByte('\n')
	}
}

// style gives that of a cell of a line, of which the first has the titles.
func (t *sheet) style(line, c int) style {
	if line == 0 {
		return styleBold
	}
	if word, ok := t.rows[line-1][c].(condition); ok {
		return word.style()
	}
	return styleNone
}

// numbers says whether a column holds numbers, and nothing else but what is missing.
func (t *sheet) numbers(c int) bool {
	found := false
	for _, row := range t.rows {
		switch row[c].(type) {
		case nil:
		case int, int64, ms, usd, usdLimit, limit, time.Duration:
			found = true
		default:
			return false
		}
	}
	return found
}

// moneyDigits gives the digits behind the point that an amount of money needs; 0 for
// anything else.
func moneyDigits(value any) int {
	if amount, ok := value.(usd); ok {
		return amount.digits()
	}
	if amount, ok := value.(usdLimit); ok && amount != 0 {
		return usd(amount).digits()
	}
	return 0
}

// cellText writes a cell whose money has so many digits behind the point.
func cellText(value any, digits int) string {
	if amount, ok := value.(usdLimit); ok && amount != 0 {
		value = usd(amount)
	}
	if amount, ok := value.(usd); ok {
		return amount.text(digits)
	}
	return tableText(value)
}
