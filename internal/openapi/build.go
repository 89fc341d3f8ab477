package openapi

// Text makes the schema of a string.
func Text(description string) *Schema { return &Schema{Type: String, Description: description} }

// Flag makes the schema of a boolean.
func Flag(description string) *Schema { return &Schema{Type: Boolean, Description: description} }

// Int makes the schema of a whole number.
func Int(description string) *Schema { return &Schema{Type: Integer, Description: description} }

// Float makes the schema of a number.
func Float(description string) *Schema { return &Schema{Type: Number, Description: description} }

// Words makes the schema of a string that is one of these.
func Words(words ...string) *Schema { return &Schema{Type: String, Enum: words} }

// List makes the schema of an array.
func List(items *Schema) *Schema { return &Schema{Type: Array, Items: items} }

// Members makes the schema of an object; the name is "" where it is no component.
func Members(name, description string, members ...Property) *Schema {
	return &Schema{Name: name, Type: Object, Description: description, Properties: members}
}

// Always makes a member that is always there.
func Always(name string, schema *Schema) Property {
	return Property{Name: name, Schema: schema, Required: true}
}

// Maybe makes a member that may be absent.
func Maybe(name string, schema *Schema) Property { return Property{Name: name, Schema: schema} }

// Nullable makes the schema of a value that may be null too. What describes the
// value describes both, unless it is a component.
func Nullable(schema *Schema) *Schema {
	if schema.Name != "" || schema.Description == "" {
		return &Schema{AnyOf: []*Schema{schema, {Type: Null}}}
	}
	value := *schema
	value.Description = ""
	return &Schema{Description: schema.Description, AnyOf: []*Schema{&value, {Type: Null}}}
}
