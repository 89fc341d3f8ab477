package protocol

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
)

// maxSchemaDepth bounds how deep a schema may be nested: far beyond what a
// person writes.
const maxSchemaDepth = 64

// StrictSchema rewrites a JSON schema into the part of the language that the
// Messages API takes for structured outputs and strict tools: it refuses the rest
// (github.com/anthropics/anthropic-sdk-go v1.84.0, schemautil.go, which
// does the same in its callers' programs): every object with properties is
// closed, oneOf becomes anyOf, and keywords that aren't supported (minimum,
// maxLength, unknown formats) move into the description, where the model reads
// them. The order of members, in which a model answers, is kept. A schema that is
// fine as it is comes back equal. moved names the keywords that became words, each
// once. An error is an apierror.Error that names the field.
func StrictSchema(field string, schema jsontext.Value) (strict jsontext.Value, moved []string, err error) {
	if schema.Kind() != '{' {
		return nil, nil, apierror.Invalid(field, "%s: must be an object", field)
	}
	strict, err = strictSchema(schema, 0, &moved)
	if err != nil {
		return nil, nil, &apierror.Error{
			Category: apierror.BadRequest, Param: field, Message: field + ": isn't a JSON schema that can be used", Cause: err,
		}
	}
	return strict, moved, nil
}

// DescribeSchema puts a description, a JSON string, into a schema that has none.
func DescribeSchema(schema, description jsontext.Value) jsontext.Value {
	if len(Inner(description)) == 0 || schema.Kind() != '{' || len(schema) == len("{}") {
		return schema
	}
	has := false
	s := NewScanner(schema)
	err := s.Document(func(name []byte) error {
		has = has || string(name) == "description" || string(name) == "$ref"
		return s.Skip()
	})
	if err != nil || has {
		return schema
	}
	out := append(append([]byte(`{"description":`), description...), ',')
	return append(out, schema[1:]...)
}

// schemaMember is one member of a schema's object.
type schemaMember struct {
	name  string
	value jsontext.Value
}

// members decodes an object and keeps its order.
func members(object jsontext.Value) ([]schemaMember, error) {
	s := NewScanner(object)
	var list []schemaMember
	err := s.Document(func(name []byte) error {
		value, err := s.Value()
		list = append(list, schemaMember{string(name), value})
		return err
	})
	return list, err
}

func appendMembers(dst []byte, list []schemaMember) []byte {
	dst = append(dst, '{')
	for i, m := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(AppendText(dst, m.name), ':'), m.value...)
	}
	return append(dst, '}')
}

// strictSchema rewrites one schema; what isn't an object (true and false are
// schemas too) stays.
func strictSchema(schema jsontext.Value, depth int, moved *[]string) (jsontext.Value, error) {
	if schema.Kind() != '{' {
		return schema, nil
	}
	if depth > maxSchemaDepth {
		return nil, apierror.Invalid("", "it is nested too deeply")
	}
	list, err := members(schema)
	if err != nil {
		return nil, err
	}
	if find(list, "$ref") >= 0 {
		// The API takes nothing beside it but the definitions.
		list = slices.DeleteFunc(list, func(m schemaMember) bool {
			return m.name != "$ref" && m.name != "$defs" && m.name != "definitions"
		})
	}
	r := schemaRewrite{all: list, object: isObject(list), depth: depth, moved: moved}
	for _, m := range list {
		if err := r.take(m); err != nil {
			return nil, err
		}
	}
	return r.finish(), nil
}

func find(list []schemaMember, name string) int {
	return slices.IndexFunc(list, func(m schemaMember) bool { return m.name == name })
}

// isObject says that the schema stands for objects, be it besides null.
func isObject(list []schemaMember) bool {
	i := find(list, "type")
	if i < 0 {
		return find(list, "properties") >= 0
	}
	var one string
	if json.Unmarshal(list[i].value, &one) == nil {
		return one == "object"
	}
	var several []string
	return json.Unmarshal(list[i].value, &several) == nil && slices.Contains(several, "object")
}

// schemaRewrite is one schema while it is rewritten.
type schemaRewrite struct {
	all    []schemaMember
	object bool
	depth  int
	moved  *[]string
	kept   []schemaMember
	extras []schemaMember // for the description
}

func (r *schemaRewrite) take(m schemaMember) (err error) {
	switch m.name {
	case "type", "description", "title", "enum", "const", "required", "pattern", "$ref":
	case "properties", "$defs", "definitions":
		m.value, err = r.each(m.value)
	case "items", "additionalProperties":
		if m.name == "additionalProperties" && r.object && find(r.all, "properties") >= 0 {
			return nil // finish closes the object
		}
		m.value, err = strictSchema(m.value, r.depth+1, r.moved)
	case "oneOf":
		if find(r.all, "anyOf") >= 0 {
			return nil
		}
		m.name = "anyOf"
		m.value, err = r.list(m.value)
	case "anyOf", "allOf":
		m.value, err = r.list(m.value)
	case "format":
		if !knownFormat(string(Inner(m.value))) {
			r.extras = append(r.extras, m)
			return nil
		}
	case "minItems":
		if n := string(m.value); n != "0" && n != "1" {
			r.extras = append(r.extras, m)
			return nil
		}
	case "$schema", "$id", "$comment":
		return nil // says nothing of the values
	default:
		r.extras = append(r.extras, m)
		return nil
	}
	r.kept = append(r.kept, m)
	return err
}

func knownFormat(format string) bool {
	switch format {
	case "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid":
		return true
	}
	return false
}

// each rewrites the schemas that an object holds by name.
func (r *schemaRewrite) each(object jsontext.Value) (jsontext.Value, error) {
	if object.Kind() != '{' {
		return object, nil
	}
	list, err := members(object)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].value, err = strictSchema(list[i].value, r.depth+1, r.moved); err != nil {
			return nil, err
		}
	}
	return appendMembers(nil, list), nil
}

// list rewrites the schemas of an array.
func (r *schemaRewrite) list(array jsontext.Value) (jsontext.Value, error) {
	if array.Kind() != '[' {
		return array, nil
	}
	var schemas []jsontext.Value
	if err := json.Unmarshal(array, &schemas); err != nil {
		return nil, err
	}
	dst := []byte{'['}
	for i, schema := range schemas {
		if i > 0 {
			dst = append(dst, ',')
		}
		strict, err := strictSchema(schema, r.depth+1, r.moved)
		if err != nil {
			return nil, err
		}
		dst = append(dst, strict...)
	}
	return append(dst, ']'), nil
}

func (r *schemaRewrite) finish() jsontext.Value {
	if r.object && find(r.kept, "additionalProperties") < 0 {
		if find(r.kept, "properties") < 0 {
			r.kept = append(r.kept, schemaMember{"properties", jsontext.Value(`{}`)})
		}
		r.kept = append(r.kept, schemaMember{"additionalProperties", jsontext.Value(`false`)})
	}
	if len(r.extras) > 0 {
		var text strings.Builder
		i := find(r.kept, "description")
		if i >= 0 {
			text.WriteString(Unquote(Quoted(r.kept[i].value)))
			text.WriteString("\n\n")
		}
		text.WriteByte('{')
		for n, m := range r.extras {
			if n > 0 {
				text.WriteString(", ")
			}
			text.WriteString(m.name + ": ")
			if !slices.Contains(*r.moved, m.name) {
				*r.moved = append(*r.moved, m.name)
			}
			text.Write(bytes.TrimSpace(m.value))
		}
		text.WriteByte('}')
		quoted := jsontext.Value(AppendText(nil, text.String()))
		if i >= 0 {
			r.kept[i].value = quoted
		} else {
			r.kept = append(r.kept, schemaMember{"description", quoted})
		}
	}
	return appendMembers(nil, r.kept)
}
