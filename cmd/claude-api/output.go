package main

import (
	"bufio"
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// The forms in which records are printed.
const (
	formTable = "table"
	formJSON  = "json" // one array, or one object where there is one record
	formCSV   = "csv"  // with a header
	formLines = "lines"
)

// listOutput is the flag of commands that print records for people by default.
type listOutput struct {
	Output string `short:"o" help:"table, json or csv." enum:"table,json,csv" default:"table"`
}

// column is one field of records.
type column[T any] struct {
	name  string // in JSON and CSV; "": it isn't there
	title string // in tables; "": it isn't there
	// value gives a string, []string, bool, int, int64, usd, limit, nested, a
	// time.Time or a time.Duration, of which the zero ones are none, or nil for what
	// isn't known or isn't set.
	value func(record T) any
	// nested: a list of records of its own, which only JSON has room for.
	nested bool
}

// limit is a number of which 0 means that there is none.
type limit int64

// nested is a value that writes itself as JSON.
type nested interface {
	writeJSON(e *jsontext.Encoder) error
}

// records are a list as a value inside a record.
type records[T any] struct {
	columns []column[T]
	list    []T
}

func (r records[T]) writeJSON(e *jsontext.Encoder) error {
	if err := e.WriteToken(jsontext.BeginArray); err != nil {
		return err
	}
	for _, record := range r.list {
		if err := writeObject(e, r.columns, record); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndArray)
}

// printer prints records one by one. Nothing is kept of them but in a table, whose
// columns are as wide as their widest cell.
type printer[T any] struct {
	form    string
	columns []column[T] // those of the form
	out     *bufio.Writer
	table   *tabwriter.Writer
	csv     *csv.Writer
	json    *jsontext.Encoder
}

func newPrinter[T any](w io.Writer, form string, columns []column[T]) *printer[T] {
	p := &printer[T]{form: form, out: bufio.NewWriter(w)}
	titles, names := []string{}, []string{}
	for _, c := range columns {
		if form == formTable && c.title == "" || form != formTable && c.name == "" || form == formCSV && c.nested {
			continue
		}
		p.columns = append(p.columns, c)
		titles, names = append(titles, strings.ToUpper(c.title)), append(names, c.name)
	}
	// A Writer of bufio keeps its first error, which close gives.
	switch form {
	case formTable:
		p.table = tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		_, _ = io.WriteString(p.table, strings.Join(titles, "\t")+"\n")
	case formCSV:
		p.csv = csv.NewWriter(p.out)
		_ = p.csv.Write(names)
	case formJSON:
		p.json = newEncoder(p.out, jsontext.WithIndent("  "))
		_ = p.json.WriteToken(jsontext.BeginArray)
	case formLines:
		p.json = newEncoder(p.out)
	}
	return p
}

func newEncoder(w io.Writer, options ...jsontext.Options) *jsontext.Encoder {
	return jsontext.NewEncoder(w, append(options, jsontext.AllowInvalidUTF8(true))...)
}

func (p *printer[T]) add(record T) error {
	if p.json != nil {
		return writeObject(p.json, p.columns, record)
	}
	cells := make([]string, len(p.columns))
	for i, c := range p.columns {
		if p.csv != nil {
			cells[i] = csvText(c.value(record))
		} else {
			cells[i] = tableText(c.value(record))
		}
	}
	if p.csv != nil {
		return p.csv.Write(cells)
	}
	_, err := io.WriteString(p.table, strings.Join(cells, "\t")+"\n")
	return err
}

// close prints what is left, and tells whether all was printed.
func (p *printer[T]) close() error {
	switch p.form {
	case formTable:
		if err := p.table.Flush(); err != nil {
			return err
		}
	case formCSV:
		p.csv.Flush()
		if err := p.csv.Error(); err != nil {
			return err
		}
	case formJSON:
		if err := p.json.WriteToken(jsontext.EndArray); err != nil {
			return err
		}
	}
	return p.out.Flush()
}

// printList prints a list.
func printList[T any](w io.Writer, form string, columns []column[T], list []T) error {
	p := newPrinter(w, form, columns)
	for _, record := range list {
		if err := p.add(record); err != nil {
			return err
		}
	}
	return p.close()
}

// printOne prints one record: a table of it has a line for each field.
func printOne[T any](w io.Writer, form string, columns []column[T], record T) error {
	switch form {
	case formJSON:
		return writeObject(newEncoder(w, jsontext.WithIndent("  ")), columns, record)
	case formCSV:
		return printList(w, form, columns, []T{record})
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range columns {
		if c.title == "" {
			continue
		}
		if _, err := io.WriteString(table, c.title+":\t"+tableText(c.value(record))+"\n"); err != nil {
			return err
		}
	}
	return table.Flush()
}

func writeObject[T any](e *jsontext.Encoder, columns []column[T], record T) error {
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, c := range columns {
		if c.name == "" {
			continue
		}
		if err := e.WriteToken(jsontext.String(c.name)); err != nil {
			return err
		}
		if err := writeValue(e, c.value(record)); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}

func writeValue(e *jsontext.Encoder, value any) error {
	switch v := value.(type) {
	case nil:
		return e.WriteToken(jsontext.Null)
	case bool:
		return e.WriteToken(jsontext.Bool(v))
	case nested:
		return v.writeJSON(e)
	case []string:
		if err := e.WriteToken(jsontext.BeginArray); err != nil {
			return err
		}
		for _, s := range v {
			if err := e.WriteToken(jsontext.String(s)); err != nil {
				return err
			}
		}
		return e.WriteToken(jsontext.EndArray)
	case string:
		return e.WriteToken(jsontext.String(v))
	}
	text := number(value)
	if text == "" {
		return e.WriteToken(jsontext.Null)
	}
	if _, isTime := value.(time.Time); isTime {
		return e.WriteToken(jsontext.String(text))
	}
	return e.WriteValue(jsontext.Value(text))
}

// number writes what JSON and CSV write alike; "" for none.
func number(value any) string {
	switch v := value.(type) {
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case usd:
		return v.String()
	case limit:
		if v != 0 {
			return strconv.FormatInt(int64(v), 10)
		}
	case time.Time:
		if !v.IsZero() {
			return v.UTC().Format(time.RFC3339Nano)
		}
	case time.Duration:
		if v != 0 {
			return strconv.FormatFloat(v.Seconds(), 'f', -1, 64)
		}
	}
	return ""
}

// csvText writes a cell. What begins as a formula of a spreadsheet gets an
// apostrophe: callers choose some of the texts (owasp.org, "CSV Injection").
func csvText(value any) string {
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v)
	case []string:
		return csvText(strings.Join(v, ";"))
	case string:
		if v != "" && strings.ContainsAny(v[:1], "=+-@\t\r\n") {
			return "'" + v
		}
		return v
	}
	return number(value)
}

// tableText writes a cell, or a line's end. Nothing of it can steer a terminal or
// break the table.
func tableText(value any) string {
	text := ""
	switch v := value.(type) {
	case bool:
		text = "no"
		if v {
			text = "yes"
		}
	case []string:
		text = strings.Join(v, ", ")
	case string:
		text = v
	case usd:
		return v.short()
	case time.Time:
		if !v.IsZero() {
			return v.Local().Format("2006-01-02 15:04")
		}
	case time.Duration:
		if v != 0 {
			return v.String()
		}
	default:
		text = number(value)
	}
	if text == "" {
		return "-"
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, text)
}
