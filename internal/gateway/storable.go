package gateway

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Storable makes a text, some of which callers choose, what any database keeps and
// any terminal may show: valid UTF-8 without control characters, at most so many
// bytes, cut between two characters.
func Storable(text string, most int) string {
	if len(text) <= most && printable(text) {
		return text // as nearly all are: nothing is copied
	}
	if len(text) > most {
		cut := most
		for cut > most-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut]
	}
	text = strings.ToValidUTF8(text, "?") // not U+FFFD: the text must not grow
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, text)
}

// printable says that a text has only ASCII characters that aren't control
// characters.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
