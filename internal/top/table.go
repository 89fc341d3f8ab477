package top

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"claude-code-api-service/client"
)

// cell is one of a table: what is seen, and what it is sorted by.
type cell struct {
	text  string
	order float64 // of numbers; texts are sorted by themselves
	mood  mood
}

// mood is how a cell looks.
type mood int

const (
	plain mood = iota
	good
	bad
	uneasy
	faint
)

// column is one of a table.
type column struct {
	title string
	right bool // numbers stand at the right, and are sorted by their order
	most  int  // the widest that it may be, in cells; 0: no limit
	// big: the column is sorted with the largest first.
	big bool
}

// row is a line of a table.
type row struct {
	id    string
	cells []cell
	faint bool // it isn't of now
}

// table is what a tab shows.
type table struct {
	columns []column
	rows    []row
}

// number is a cell that is sorted by a number.
func number(text string, order float64) cell { return cell{text: text, order: order} }

// word is a cell that is sorted by its text, which may be a caller's.
func word(text string) cell { return cell{text: safe(text)} }

// keepOnly leaves out the rows that don't hold a text, in letters of any case.
func (t *table) keepOnly(filter string) {
	if filter == "" {
		return
	}
	filter = strings.ToLower(filter)
	t.rows = slices.DeleteFunc(t.rows, func(r row) bool {
		return !slices.ContainsFunc(r.cells, func(c cell) bool { return strings.Contains(strings.ToLower(c.text), filter) })
	})
}

// sort sorts the rows by a column; less than 0: they stay. What is equal stays in order.
func (t *table) sort(by int, reversed bool) {
	if by < 0 || by >= len(t.columns) {
		if reversed {
			slices.Reverse(t.rows)
		}
		return
	}
	c := t.columns[by]
	slices.SortStableFunc(t.rows, func(a, b row) int {
		order := cmp.Compare(a.cells[by].order, b.cells[by].order)
		if !c.right {
			order = cmp.Compare(strings.ToLower(a.cells[by].text), strings.ToLower(b.cells[by].text))
		}
		if c.big != reversed {
			return -order
		}
		return order
	})
}

// widths gives how wide each column is in a view of a width. Where they don't fit, the
// last ones are left out.
func (t *table) widths(width int) []int {
	var list []int
	for i, c := range t.columns {
		w := ansi.StringWidth(c.title) + 1 // the mark of the sorted one
		for _, r := range t.rows {
			w = max(w, ansi.StringWidth(r.cells[i].text))
		}
		if c.most > 0 {
			w = min(w, max(c.most, ansi.StringWidth(c.title)+1))
		}
		list = append(list, w)
	}
	used := 0
	for i, w := range list {
		if i > 0 {
			used += len(gap)
		}
		if used+w > width {
			if left := width - used; i == 0 || left >= ansi.StringWidth(t.columns[i].title)+1 {
				list[i] = max(left, 0)
				return list[:i+1]
			}
			return list[:i]
		}
		used += w
	}
	return list
}

const gap = "  "

// fit makes a text exactly so wide.
func fit(text string, width int, right bool) string {
	if ansi.StringWidth(text) > width {
		text = ansi.Truncate(text, width, "…")
	}
	padding := strings.Repeat(" ", max(0, width-ansi.StringWidth(text)))
	if right {
		return padding + text
	}
	return text + padding
}

// safe leaves nothing in a text that could steer a terminal or break a line.
func safe(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, text)
}

// message is what a person reads of an error.
func message(err error) string {
	var told *client.Error
	if errors.As(err, &told) {
		return told.Message
	}
	var network *url.Error
	if errors.As(err, &network) {
		return "the service can't be reached: " + network.Err.Error()
	}
	return err.Error()
}
