package protocol

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// whole runs a text through a fence in one piece.
func unfenced(pieces ...string) string {
	var f Fence
	var out []byte
	for _, piece := range pieces {
		out = f.Write(out, []byte(piece))
	}
	return string(f.Close(out))
}

func TestFence(t *testing.T) {
	blank := strings.Repeat(" ", 40)
	for _, tt := range []struct{ name, in, want string }{
		{"none", `{"a":1}`, `{"a":1}`},
		{"empty", ``, ``},
		{"json", "```json\n{\"a\":1}\n```", `{"a":1}`},
		{"no language", "```\n{\"a\":1}\n```\n", `{"a":1}`},
		{"white space around", " \n```JSON \r\n\n{\n}\n\n``` \n", "{\n}"},
		{"on one line", "```json {\"a\":1} ```", `{"a":1}`},
		{"array at once", "```[1]```", `[1]`},
		{"never closed", "```json\n{\"a\":1}\n", "{\"a\":1}\n"},
		{"broken off inside the closing fence", "```json\n{}\n``", "{}\n``"},
		{"backticks inside", "```json\n{\"a\":\"```x``\"}\n```", "{\"a\":\"```x``\"}"},
		{"text behind", "```json\n{}\n```\nThat is all.", "{}\n```\nThat is all."},
		{"four backticks", "````\n{}\n````", "````\n{}\n````"},
		{"text before", "Here:\n```json\n{}\n```", "Here:\n```json\n{}\n```"},
		{"inline code", "`x` is it", "`x` is it"},
		{"a long first line", "```" + strings.Repeat("x", 60) + "\n", "```" + strings.Repeat("x", 60) + "\n"},
		{"much white space before", blank + "```json\n{}\n```", blank + "```json\n{}\n```"},
		{"much white space inside", "```json\n{" + blank + "}" + blank + "\n```", "{" + blank + "}" + blank[:25]},
		{"much white space behind", "```json\n{}\n```" + blank + blank, "{}\n```" + blank + blank},
		{"an opening fence alone", "```json\n", ""},
		{"broken off inside the opening fence", "```js", "```js"},
		{"only white space", " \n", " \n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := unfenced(tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// However a text is cut, what comes out is the same, and little is held back.
func TestFenceInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.SampledFrom([]string{"`", "```", "\n", " ", "json", "{", "}", `"a"`, "ä", "\t \n"})).Draw(t, "words")
		pieces := []string{}
		for i, rest := 0, strings.Join(words, ""); rest != ""; i++ {
			n := rapid.IntRange(0, len(rest)).Draw(t, "cut")
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		checkPieces(t, pieces)
	})
}

func FuzzFence(f *testing.F) {
	f.Add("```json\n{\"a\":1}\n```", uint8(3))
	f.Add(" ```\n``` ```", uint8(1))
	f.Add("```json\n{\"a\":\"```\"}\n``", uint8(7))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		var pieces []string
		for n := int(size)%16 + 1; len(text) > n; text = text[n:] {
			pieces = append(pieces, text[:n])
		}
		checkPieces(t, append(pieces, text))
	})
}

func checkPieces(t interface {
	Fatalf(format string, args ...any)
}, pieces []string,
) {
	var f Fence
	var out []byte
	text := strings.Join(pieces, "")
	read := 0
	for _, piece := range pieces {
		out = f.Write(out, []byte(piece))
		if read += len(piece); len(f.held) > 2*maxFenceBlank+2*len(fenceMark)+maxFenceInfo {
			t.Fatalf("%q: %d bytes are held back", text[:read], len(f.held))
		}
	}
	got := string(f.Close(out))
	if want := unfenced(text); got != want {
		t.Fatalf("%q in pieces gives %q, whole %q", pieces, got, want)
	}
	if !strings.Contains(text, fenceMark) && got != text {
		t.Fatalf("%q has no fence and became %q", text, got)
	}
}
