package main

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/gateway"
)

// limit is a number of which 0 means that there is none.
type limit int64

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
	case condition:
		return e.WriteToken(jsontext.String(string(v)))
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
	case ms:
		return strconv.FormatFloat(float64(v), 'f', -1, 64)
	case usd:
		return v.String()
	case usdLimit:
		if v != 0 {
			return usd(v).String()
		}
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

// formulas are what a formula of a spreadsheet begins with, also in the wide writing
// of East Asia.
const formulas = "=+-@\t\r\n＝＋－＠"

// csvText writes a cell. What begins as a formula of a spreadsheet gets an
// apostrophe: callers choose some of the texts (owasp.org, "CSV Injection").
func csvText(value any) string {
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v)
	case []string:
		return csvText(strings.Join(v, ";"))
	case condition:
		return csvText(string(v))
	case string:
		if strings.IndexAny(v, formulas) == 0 {
			return "'" + v
		}
		return v
	}
	return number(value)
}

// noLimit is a limit of 0 in tables.
const noLimit = "no limit"

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
		switch {
		case len(v) == 0:
			return "none"
		case len(v) == 1 && v[0] == gateway.All:
			return "all"
		}
		text = strings.Join(v, ", ")
	case string:
		text = v
	case condition:
		text = string(v)
	case usd:
		return v.short()
	case usdLimit:
		if v == 0 {
			return noLimit
		}
		return usd(v).short()
	case limit:
		if v == 0 {
			return noLimit
		}
		return number(v)
	case time.Time:
		if !v.IsZero() {
			return v.Local().Format("2006-01-02 15:04")
		}
	case time.Duration:
		if v == 0 {
			return noLimit
		}
		return v.String()
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
