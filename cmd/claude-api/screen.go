package main

import (
	"fmt"
	"io"
	"os"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// screenSafe gives what a text for programs is written to: the file itself, or on a
// terminal a writer that leaves nothing in it that could steer that. Callers, models and
// the files of a task choose some of the texts.
func screenSafe(w io.Writer, form string) io.Writer {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(f) {
		return w
	}
	switch form {
	case formJSON, formLines:
		return &screenWriter{w: f, instead: escaped}
	}
	return &screenWriter{w: f, instead: func(rune) string { return "?" }}
}

// screenWriter writes something else instead of what isn't for eyes. What ends in the
// middle of a letter waits for the rest of it.
type screenWriter struct {
	w       io.Writer
	instead func(c rune) string
	rest    []byte
}

// Write implements io.Writer.
func (s *screenWriter) Write(p []byte) (int, error) {
	text := append(s.rest, p...)
	out := make([]byte, 0, len(text))
	for len(text) > 0 && utf8.FullRune(text) {
		c, n := utf8.DecodeRune(text)
		text = text[n:]
		if c == '\n' || c == '\t' || unicode.IsPrint(c) {
			out = utf8.AppendRune(out, c)
		} else {
			out = append(out, s.instead(c)...)
		}
	}
	s.rest = append([]byte(nil), text...)
	if _, err := s.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// escaped writes a letter of a JSON text as JSON lets it be written.
func escaped(c rune) string {
	if high, low := utf16.EncodeRune(c); high != unicode.ReplacementChar {
		return fmt.Sprintf(`\u%04x\u%04x`, high, low)
	}
	return fmt.Sprintf(`\u%04x`, c)
}

// printLine writes a text for programs, and a line's end.
func printLine(form string, text []byte) {
	fmt.Fprintf(screenSafe(os.Stdout, form), "%s\n", text)
}
