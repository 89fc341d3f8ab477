package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// value is a JSON value whose members are in the order of the text.
type value struct {
	names   []string // of an object's members
	members []*value // of an object, or an array's elements
	object  bool
	array   bool
	text    string // of anything else, as JSON
}

// readValues reads the JSON values that a text consists of.
func readValues(text string) (values []*value, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	for {
		v, err := readValue(d)
		if errors.Is(err, io.EOF) && len(values) > 0 {
			return values, nil
		}
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
}

func readValue(d *json.Decoder) (*value, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delimiter, nested := token.(json.Delim)
	if !nested {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		err := e.Encode(token)
		return &value{text: strings.TrimSpace(b.String())}, err
	}
	v := &value{object: delimiter == '{', array: delimiter == '['}
	for d.More() {
		if v.object {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v.names = append(v.names, name.(string))
		}
		member, err := readValue(d)
		if err != nil {
			return nil, err
		}
		v.members = append(v.members, member)
	}
	_, err = d.Token()
	return v, err
}

// get gives a member, or an empty value; names lead inwards.
func (v *value) get(names ...string) *value {
	for _, name := range names {
		found := &value{}
		for i, n := range v.names {
			if n == name {
				found = v.members[i]
			}
		}
		v = found
	}
	return v
}

// words gives a string's text, and any other value's as JSON.
func (v *value) words() string {
	var text string
	if json.Unmarshal([]byte(v.text), &text) == nil {
		return text
	}
	return v.text
}

// wide is how long a line of an answer may be.
const wide = 110

// show writes a value on one line where it fits, and else each member on one of its own.
// used is what is before it on its line.
func (v *value) show(b *strings.Builder, indent string, used int) {
	line := v.line()
	if v.text != "" || used+len(line) <= wide {
		b.WriteString(line)
		return
	}
	open, shut := "[", "]"
	if v.object {
		open, shut = "{", "}"
	}
	b.WriteString(open + "\n")
	for i, m := range v.members {
		name := ""
		if v.object {
			name = quote(v.names[i]) + ": "
		}
		b.WriteString(indent + "  " + name)
		m.show(b, indent+"  ", len(indent)+2+len(name)+1)
		if i+1 < len(v.members) {
			b.WriteString(",")
		}
		b.WriteString("\n")
	}
	b.WriteString(indent + shut)
}

func (v *value) line() string {
	if v.text != "" {
		return v.text
	}
	parts := make([]string, len(v.members))
	for i, m := range v.members {
		parts[i] = m.line()
		if v.object {
			parts[i] = quote(v.names[i]) + ": " + parts[i]
		}
	}
	if v.object {
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// reference writes what the OpenAPI document says of an operation: its parameters and
// the members of its body, and its statuses.
func reference(document *value, method, path string) (string, bool) {
	operation := document.get("paths", path, strings.ToLower(method))
	if !operation.object {
		return "", false
	}
	var b strings.Builder
	var rows []string
	for _, p := range operation.get("parameters").members {
		rows = append(rows, parameterRow(document, p.get("name").words(), p.get("in").words(), p.get("required").text == "true", p.get("schema"), p.get("description")))
	}
	body := resolve(document, operation.get("requestBody", "content", "application/json", "schema"))
	required := map[string]bool{}
	for _, name := range body.get("required").members {
		required[name.words()] = true
	}
	properties := body.get("properties")
	for i, name := range properties.names {
		rows = append(rows, parameterRow(document, name, "", required[name], properties.members[i], properties.members[i].get("description")))
	}
	if rows != nil {
		b.WriteString("| parameter | | |\n|---|---|---|\n" + strings.Join(rows, "") + "\n")
	}
	b.WriteString("| status | |\n|---|---|\n")
	responses := operation.get("responses")
	for _, status := range slices.Sorted(slices.Values(responses.names)) {
		fmt.Fprintf(&b, "| %s | %s |\n", status, cell(responses.get(status, "description").words()))
	}
	return b.String(), true
}

func parameterRow(document *value, name, in string, required bool, schema, description *value) string {
	of := resolve(document, schema)
	kind := kindOf(document, schema, true)
	if in == "header" || in == "query" || in == "path" {
		kind = in + ", " + kind
	}
	if required && in != "path" {
		kind = "**required**, " + kind
	}
	text := description.words()
	if text == "" {
		text = of.get("description").words()
	}
	if d := of.get("default"); d.text != "" {
		text += " Default: `" + d.words() + "`."
	}
	if of.get("deprecated").text == "true" {
		text += " Deprecated."
	}
	return fmt.Sprintf("| `%s` | %s | %s |\n", name, cell(kind), cell(strings.TrimSpace(text)))
}

func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n\n", " ", "\n", " ", "<", "&lt;").Replace(text)
}

// kindOf says what a value of a schema is: a few words, with the members of an object at
// the top.
func kindOf(document, schema *value, top bool) string {
	s := resolve(document, schema)
	if words := s.get("enum").members; words != nil {
		var list []string
		for _, w := range words {
			list = append(list, "`"+w.words()+"`")
		}
		return strings.Join(list, ", ")
	}
	for _, name := range []string{"anyOf", "oneOf"} {
		if either := s.get(name).members; either != nil {
			var list []string
			for _, e := range either {
				// null is as good as absent everywhere.
				if k := kindOf(document, e, top); k != "null" && !slices.Contains(list, k) {
					list = append(list, k)
				}
			}
			return strings.Join(list, " or ")
		}
	}
	switch kind := s.get("type").words(); kind {
	case "array":
		return "list of " + kindOf(document, s.get("items"), false)
	case "object":
		if names := s.get("properties").names; top && names != nil {
			return "object: `" + strings.Join(names, "`, `") + "`"
		}
		return "object"
	case "":
		return "any value"
	case "integer":
		return "whole number"
	default:
		return kind
	}
}

// resolve follows the reference to a schema of the document.
func resolve(document, schema *value) *value {
	for {
		name, found := strings.CutPrefix(schema.get("$ref").words(), "#/components/schemas/")
		if !found {
			return schema
		}
		schema = document.get("components", "schemas", name)
	}
}

func TestShow(t *testing.T) {
	values, err := readValues(`{"b":1.50,"a":["x<y",null]} [] {"long":"` + strings.Repeat("x", wide) + `","n":{}}`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		`{"b": 1.50, "a": ["x<y", null]}`,
		`[]`,
		"{\n  \"long\": \"" + strings.Repeat("x", wide) + "\",\n  \"n\": {}\n}",
	} {
		var b strings.Builder
		values[i].show(&b, "", 0)
		if b.String() != want {
			t.Errorf("%s, want %s", b.String(), want)
		}
	}
	for _, wrong := range []string{"", "{", `{"a"`, "data: x"} {
		if v, err := readValues(wrong); err == nil {
			t.Errorf("%q is %+v", wrong, v)
		}
	}
}
