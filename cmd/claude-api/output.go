package main

import (
	"bufio"
	"encoding/csv"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/go-json-experiment/json/jsontext"
)

// The forms in which records are printed.
const (
	formTable = "table"
	formJSON  = "json"  // one array, or one object where there is one record
	formCSV   = "csv"   // with a header
	formLines = "lines" // JSON, one object a line
)

// listOutput is the flag of commands that print records for people by default.
type listOutput struct {
	Output string `short:"o" help:"table, json or csv." enum:"table,json,csv" default:"table"`
}

// column is one field of records.
type column[T any] struct {
	name  string // in JSON and CSV; "": it isn't there
	title string // in tables; "": it isn't there
	// value gives a string, a condition, []string, bool, int, int64, usd, nested, a time.Time, of
	// which the zero one is none, a limit, a usdLimit or a time.Duration, of which the
	// zero ones are no limit, or nil for what isn't known or isn't set.
	value func(record T) any
	// nested: a list of records of its own, which only JSON has room for.
	nested bool
}

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
	table   *sheet
	csv     *csv.Writer
	json    *jsontext.Encoder
}

func newPrinter[T any](w io.Writer, form string, columns []column[T]) *printer[T] {
	p := &printer[T]{form: form}
	if form == formTable {
		p.out = bufio.NewWriter(w) // its cells are harmless
	} else {
		p.out = bufio.NewWriter(screenSafe(w, form))
	}
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
		p.table = &sheet{titles: titles, colors: hasColors(w)}
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

// hasColors says whether what is written there has colours.
func hasColors(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && colors(f)
}

func newEncoder(w io.Writer, options ...jsontext.Options) *jsontext.Encoder {
	return jsontext.NewEncoder(w, append(options, jsontext.AllowInvalidUTF8(true))...)
}

func (p *printer[T]) add(record T) error {
	if p.json != nil {
		return writeObject(p.json, p.columns, record)
	}
	values := make([]any, len(p.columns))
	for i, c := range p.columns {
		values[i] = c.value(record)
	}
	if p.table != nil {
		p.table.rows = append(p.table.rows, values)
		return nil
	}
	cells := make([]string, len(values))
	for i, value := range values {
		cells[i] = csvText(value)
	}
	return p.csv.Write(cells)
}

// close prints what is left, and tells whether all was printed.
func (p *printer[T]) close() error {
	switch p.form {
	case formTable:
		p.table.write(p.out)
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
		return writeObject(newEncoder(screenSafe(w, form), jsontext.WithIndent("  ")), columns, record)
	case formCSV:
		return printList(w, form, columns, []T{record})
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range columns {
		if c.title == "" {
			continue
		}
		value := c.value(record)
		text := tableText(value)
		if word, ok := value.(condition); ok && hasColors(w) {
			text = word.style().wrap(text)
		}
		if _, err := io.WriteString(table, c.title+":\t"+text+"\n"); err != nil {
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
