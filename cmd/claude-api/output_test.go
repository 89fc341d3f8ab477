package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// sample is a record with one value, in a column of each form.
func printed(t *testing.T, form string, value any) string {
	t.Helper()
	var out strings.Builder
	columns := []column[any]{
		{name: "first", title: "First", value: func(any) any { return "x" }},
		{name: "value", title: "Value", value: func(v any) any { return v }},
	}
	if err := printList(&out, form, columns, []any{value}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestCells(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 30, 15, 5000, time.FixedZone("", 3600))
	for _, tt := range []struct {
		name             string
		value            any
		csv, json, table string
	}{
		{"a text", "shop", "shop", `"shop"`, "shop"},
		{"no text", "", "", `""`, "-"},
		{"a formula", "=1+2", "'=1+2", `"=1+2"`, "=1+2"},
		{"a formula in wide writing", "＝1+2", "'＝1+2", `"＝1+2"`, "＝1+2"},
		{"a tab in front", "\t=1", "'\t=1", `"\t=1"`, "?=1"},
		{"a sign further on", "a=1", "a=1", `"a=1"`, "a=1"},
		{"a formula that begins with @", "@SUM(A1)", "'@SUM(A1)", `"@SUM(A1)"`, "@SUM(A1)"},
		{"a formula in quotes", `-2+3";x`, `"'-2+3"";x"`, `"-2+3\";x"`, `-2+3";x`},
		{"a line's end", "a\nb", "\"a\nb\"", `"a\nb"`, "a?b"},
		{"what steers a terminal", "a\x1b[2Jb\u202e", "a\x1b[2Jb\u202e", `"a\u001b[2Jb` + "\u202e" + `"`, "a?[2Jb?"},
		{"texts", []string{"=a", "b"}, "'=a;b", `["=a","b"]`, "=a, b"},
		{"no texts", []string(nil), "", `[]`, "none"},
		{"all texts", []string{"*"}, "*", `["*"]`, "all"},
		{"a number", int64(-5), "-5", "-5", "-5"},
		{"a limit", limit(7), "7", "7", "7"},
		{"no limit", limit(0), "", "null", "no limit"},
		{"a limit in money", usdLimit(1_500_000), "1.500000", "1.500000", "1.50"},
		{"no limit in money", usdLimit(0), "", "null", "no limit"},
		{"yes", true, "true", "true", "yes"},
		{"no", false, "false", "false", "no"},
		{"money", usd(1_500_000), "1.500000", "1.500000", "1.50"},
		{"a time", at, "2026-03-01T11:30:15.000005Z", `"2026-03-01T11:30:15.000005Z"`, at.Local().Format("2006-01-02 15:04")},
		{"no time", time.Time{}, "", "null", "-"},
		{"a duration", 1500 * time.Millisecond, "1.5", "1.5", "1.5s"},
		{"no limit in time", time.Duration(0), "", "null", "no limit"},
		{"nothing", nil, "", "null", "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, want := printed(t, formCSV, tt.value), "first,value\nx,"+tt.csv+"\n"; got != want {
				t.Errorf("CSV %q, want %q", got, want)
			}
			if got, want := printed(t, formLines, tt.value), `{"first":"x","value":`+tt.json+"}\n"; got != want {
				t.Errorf("JSON %q, want %q", got, want)
			}
			got := strings.Split(printed(t, formTable, tt.value), "\n")
			if len(got) != 3 || strings.TrimSpace(strings.TrimPrefix(got[1], "x  ")) != tt.table {
				t.Errorf("table %q, want %q", got, tt.table)
			}
		})
	}
}

// Numbers stand at the right, beside what isn't known too; money has the digits of
// the amount that needs most.
func TestTable(t *testing.T) {
	type record struct {
		name        string
		count, cost any
	}
	columns := []column[record]{
		{title: "Name", value: func(r record) any { return r.name }},
		{title: "Count", value: func(r record) any { return r.count }},
		{title: "USD", value: func(r record) any { return r.cost }},
	}
	list := []record{{"größer", 12345678, usd(1)}, {"a", int64(7), usd(12_500_000)}, {"", nil, nil}, {"b", limit(0), usdLimit(2_000_000)}}
	var out strings.Builder
	if err := printList(&out, formTable, columns, list); err != nil {
		t.Fatal(err)
	}
	const want = "NAME       COUNT        USD\n" +
		"größer  12345678   0.000001\n" +
		"a              7  12.500000\n" +
		"-              -          -\n" +
		"b       no limit   2.000000\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
}

// full is a device without room.
type full struct{}

var errFull = errors.New("no room")

func (full) Write([]byte) (int, error) { return 0, errFull }

// What couldn't be printed is told, in every form.
func TestPrintFails(t *testing.T) {
	columns := []column[string]{{name: "value", title: "Value", value: func(s string) any { return s }}}
	for _, form := range []string{formTable, formJSON, formLines, formCSV} {
		if err := printList(full{}, form, columns, []string{"x"}); !errors.Is(err, errFull) {
			t.Errorf("%s: a list: %v", form, err)
		}
		if form == formLines {
			continue
		}
		if err := printOne(full{}, form, columns, "x"); !errors.Is(err, errFull) {
			t.Errorf("%s: a record: %v", form, err)
		}
	}
}
