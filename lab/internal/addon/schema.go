package addon

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
)

// schema is the part of JSON Schema that the add-ons' configuration schemas use. Messages are worded as EKS words them.
type schema struct {
	Type                 string             `json:"type"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties *bool              `json:"additionalProperties"`
	Required             []string           `json:"required"`
	Items                *schema            `json:"items"`
	Enum                 []string           `json:"enum"`
	Pattern              string             `json:"pattern"`
	Minimum              *float64           `json:"minimum"`
	Maximum              *float64           `json:"maximum"`
}

func parseSchema(data []byte) (*schema, error) {
	s := &schema{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read configuration schema: %w", err)
	}
	return s, nil
}

// validate lists what is wrong with v, a decoded JSON value.
func (s *schema) validate(path string, v any) []string {
	if found := typeOf(v); s.Type != "" && found != s.Type && (found != "integer" || s.Type != "number") {
		return []string{fmt.Sprintf("%s: %s found, %s expected", path, found, s.Type)}
	}
	switch v := v.(type) {
	case map[string]any:
		return s.validateObject(path, v)
	case []any:
		var wrong []string
		for i, item := range v {
			if s.Items != nil {
				wrong = append(wrong, s.Items.validate(fmt.Sprintf("%s[%d]", path, i), item)...)
			}
		}
		return wrong
	case string:
		return s.validateText(path, v)
	case float64:
		return s.validateNumber(path, v)
	}
	return nil
}

func (s *schema) validateObject(path string, v map[string]any) []string {
	var wrong []string
	for _, key := range s.Required {
		if _, ok := v[key]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s.%s: is missing but it is required", path, key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(v)) {
		at := path + "." + key
		property, ok := s.Properties[key]
		switch {
		case ok:
			wrong = append(wrong, property.validate(at, v[key])...)
		case s.AdditionalProperties != nil && !*s.AdditionalProperties:
			wrong = append(wrong, at+": is not defined in the schema and the schema does not allow additional properties")
		}
	}
	return wrong
}

func (s *schema) validateText(path, v string) []string {
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
		return []string{fmt.Sprintf("%s: does not have a value in the enumeration [%s]", path, strings.Join(s.Enum, ", "))}
	}
	if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
		return []string{fmt.Sprintf("%s: does not match the regex pattern %s", path, s.Pattern)}
	}
	return nil
}

func (s *schema) validateNumber(path string, v float64) []string {
	if s.Minimum != nil && v < *s.Minimum {
		return []string{fmt.Sprintf("%s: must have a minimum value of %v", path, *s.Minimum)}
	}
	if s.Maximum != nil && v > *s.Maximum {
		return []string{fmt.Sprintf("%s: must have a maximum value of %v", path, *s.Maximum)}
	}
	return nil
}

func typeOf(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	default:
		return "null"
	}
}
