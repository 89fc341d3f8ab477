package task

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

func TestCut(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"a":1}`, `{"a":1}`},
		{`"` + strings.Repeat("x", 8) + `"`, `"xxxxxxxx"`},
		{`"` + strings.Repeat("x", 11) + `"`, `"xxxxxxxxxx… (cut)"`},
		{`{"a":"aaaaaaaa"}`, `"{\"a\":\"aaaa… (cut)"`},
		{`"xxxxxxxxxüx"`, `"xxxxxxxxx… (cut)"`}, // not in the middle of a character
		{`"\u0061\u0061\u0061"`, `"aaa"`},
	} {
		got := cut(jsontext.Value(tt.in), 10)
		if string(got) != tt.want || !got.IsValid() {
			t.Errorf("%s: %s", tt.in, got)
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	l, long := log{}, jsontext.Value(`"`+strings.Repeat("x", MaxLogged-2)+`"`)
	for n := range MaxEntries + 7 {
		l.add(&data{Type: EventToolUse, Tool: "Read", ToolID: fmt.Sprint(n), Input: long, Output: long}, time.Time{})
	}
	if len(l.entries) != MaxEntries || l.left != 7 {
		t.Errorf("%d entries, %d left out", len(l.entries), l.left)
	}
	if first, last := l.entries[0], l.entries[MaxEntries-1]; len(first.Input) != MaxLogged || len(last.Input) > 2*maxRest {
		t.Errorf("%d bytes first, %d last", len(first.Input), len(last.Input))
	}
	if size := len(encode(l.entries)); size > 2*maxLog {
		t.Errorf("%d bytes in all", size)
	}
}

func TestMerged(t *testing.T) {
	earlier := []Artifact{{Path: "a", Change: "created", Run: "r-1"}, {Path: "b", Change: "modified", Run: "r-1"}}
	got := merged(earlier, []Artifact{{Path: "a", Change: "modified", Run: "r-2"}, {Path: "c", Change: "created", Run: "r-2"}})
	want := "[{a created r-2} {b modified r-1} {c created r-2}]"
	var short []struct{ Path, Change, Run string }
	for _, a := range got {
		short = append(short, struct{ Path, Change, Run string }{a.Path, a.Change, a.Run})
	}
	if fmt.Sprint(short) != want {
		t.Errorf("%v", short)
	}
}

func TestHarmless(t *testing.T) {
	var p progress
	for tool, changes := range map[string]bool{
		"Read": false, "Grep": false, "Task": false, "Bash": true, "Write": true, "Edit": true, "Skill": true, "mcp__x__read": true, "Unheard": true,
	} {
		if p.uses(tool, tool) != changes {
			t.Errorf("%s", tool)
		}
	}
	if !p.gave("Bash") || p.gave("Read") || len(p.Pending) != 5 {
		t.Errorf("%+v", p)
	}
}

// TestWhatTheCLISays is kept, whatever it is.
func TestWhatTheCLISays(t *testing.T) {
	for in, want := range map[string]string{`{"a":1,"a":2}`: `{"a":1,"a":2}`, `{"a":"\ud800"}`: "{\"a\":\"\ufffd\"}"} {
		if got := string(encode(&data{Type: "x", Input: jsontext.Value(in)})); got != `{"type":"x","input":`+want+`}` {
			t.Errorf("%s became %s", in, got)
		}
	}
}

// TestNextToNothing isn't nothing, which would stand for what is the default.
func TestNextToNothing(t *testing.T) {
	for n, want := range map[float64]int64{0: 0, 1e-9: 1, 0.29: 290_000, 1.1: 1_100_000, 2: 2_000_000} {
		if got := counted(n, 1e6); got != want {
			t.Errorf("%g: %d, not %d", n, got, want)
		}
	}
}
