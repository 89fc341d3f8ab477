package protocol

import (
	"errors"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/openapi"
)

type thing struct {
	name   jsontext.Value
	kind   string
	flag   bool
	maybe  *bool
	count  int64
	number *float64
	inner  *thing
	others []string
}

func things() *Object[thing] {
	text := &openapi.Schema{Type: openapi.String}
	inner := NewObject(openapi.Schema{Name: "Inner"}, nil, Field[thing]{Name: "kind", Schema: text, Required: true, Read: ReadString(func(t *thing) *string { return &t.kind })})
	return NewObject(
		openapi.Schema{Name: "Thing"},
		func(t *thing, s *Scanner, name string) error {
			t.others = append(t.others, name)
			return s.Skip()
		},
		Field[thing]{Name: "name", Schema: text, Required: true, Read: ReadText(func(t *thing) *jsontext.Value { return &t.name })},
		Field[thing]{Name: "flag", Schema: text, Read: ReadFlag(func(t *thing) *bool { return &t.flag })},
		Field[thing]{Name: "maybe", Schema: text, Read: ReadBool(func(t *thing) **bool { return &t.maybe })},
		Field[thing]{Name: "count", Schema: text, Read: ReadCount(1, func(t *thing) *int64 { return &t.count })},
		Field[thing]{Name: "number", Schema: text, Read: ReadNumber(0, 1, func(t *thing) **float64 { return &t.number })},
		Field[thing]{Name: "inner", Schema: inner.Schema(), Read: func(t *thing, s *Scanner) error {
			t.inner = &thing{}
			return inner.Read(s, t.inner)
		}},
	)
}

func TestObject(t *testing.T) {
	yes, half := true, 0.5
	tests := []struct {
		name, doc string
		param     string // of the refusal, "" for none
		want      thing
	}{
		{"all", `{"name":"n","flag":true,"maybe":true,"count":2,"number":0.5,"inner":{"kind":"k","x":1},"y":[2]}`, "",
			thing{name: jsontext.Value(`"n"`), flag: true, maybe: &yes, count: 2, number: &half, inner: &thing{kind: "k"}, others: []string{"y"}}},
		{"nulls", `{"name":"n","flag":null,"maybe":null,"count":null,"number":null}`, "", thing{name: jsontext.Value(`"n"`)}},
		{"missing", `{"flag":true}`, "name", thing{}},
		{"null is missing", `{"name":null}`, "name", thing{}},
		{"missing inside", `{"name":"n","inner":{}}`, "inner.kind", thing{}},
		{"wrong type inside", `{"name":"n","inner":{"kind":1}}`, "inner.kind", thing{}},
		{"out of range", `{"name":"n","number":2}`, "number", thing{}},
		{"too small", `{"name":"n","count":0}`, "count", thing{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got thing
			err := things().Document(NewScanner([]byte(test.doc)), &got)
			if test.param != "" {
				var e *apierror.Error
				if !errors.As(err, &e) || e.Param != test.param {
					t.Errorf("err = %v, want one about %s", err, test.param)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

func TestObjectSchema(t *testing.T) {
	schema := things().Schema()
	if schema.Name != "Thing" || schema.Type != openapi.Object || len(schema.Properties) != 6 {
		t.Fatalf("schema = %+v", schema)
	}
	if p := schema.Properties[0]; p.Name != "name" || !p.Required || schema.Properties[5].Required {
		t.Errorf("properties = %+v", schema.Properties)
	}
}
