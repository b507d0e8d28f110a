package eks

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// schema is the part of JSON Schema that add-on schemas use. Keywords outside of it are not checked.
type schema struct {
	Type                 string             `json:"type"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties *additional        `json:"additionalProperties"`
	Items                *schema            `json:"items"`
	Enum                 []any              `json:"enum"`
	Pattern              string             `json:"pattern"`
	Minimum              *float64           `json:"minimum"`
	Maximum              *float64           `json:"maximum"`
	Ref                  string             `json:"$ref"`
	Definitions          map[string]*schema `json:"definitions"`
}

// additional is false, true, or the schema of further properties.
type additional struct {
	allowed bool
	schema  *schema
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *additional) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &a.allowed); err == nil {
		return nil
	}
	a.allowed, a.schema = true, new(schema)
	return json.Unmarshal(b, a.schema)
}

// ValidateConfiguration checks configuration values, JSON or YAML, against an add-on's schema. The error is an *Error with
// the text that EKS gives, in which each fault is named by its path.
func ValidateConfiguration(schemaJSON, values string) error {
	if strings.TrimSpace(values) == "" {
		return nil
	}
	var doc any
	if err := yaml.Unmarshal([]byte(values), &doc); err != nil {
		return InvalidParameter("ConfigurationValue is not in valid JSON or YAML format.")
	}
	if schemaJSON == "" {
		return InvalidParameter("ConfigurationValue provided in request is not supported: the add-on has no configuration values")
	}
	var root schema
	if err := json.Unmarshal([]byte(schemaJSON), &root); err != nil {
		return fmt.Errorf("read add-on schema: %w", err)
	}
	v := validator{definitions: root.Definitions}
	v.check(&root, "$", doc, 0)
	if len(v.faults) > 0 {
		return InvalidParameter("ConfigurationValue provided in request is not supported: Json schema validation failed with error: [" +
			strings.Join(v.faults, ", ") + "]")
	}
	return nil
}

type validator struct {
	definitions map[string]*schema
	faults      []string
}

const maxRefs = 32

func (v *validator) fault(path, format string, args ...any) {
	v.faults = append(v.faults, path+": "+fmt.Sprintf(format, args...))
}

func (v *validator) check(s *schema, path string, value any, refs int) {
	if name, ok := strings.CutPrefix(s.Ref, "#/definitions/"); ok {
		if def := v.definitions[name]; def != nil && refs < maxRefs {
			v.check(def, path, value, refs+1)
		}
		return
	}
	if s.Type != "" && typeOf(value) != s.Type && (s.Type != "number" || typeOf(value) != "integer") {
		v.fault(path, "%s found, %s expected", typeOf(value), s.Type)
		return
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
		v.fault(path, "does not have a value in the enumeration %v", s.Enum)
	}
	switch value := value.(type) {
	case map[string]any:
		v.checkObject(s, path, value, refs)
	case []any:
		for i, item := range value {
			if s.Items != nil {
				v.check(s.Items, fmt.Sprintf("%s[%d]", path, i), item, refs)
			}
		}
	case string:
		v.checkText(s, path, value)
	case float64:
		if s.Minimum != nil && value < *s.Minimum || s.Maximum != nil && value > *s.Maximum {
			v.fault(path, "%v is out of range", value)
		}
	}
}

func (v *validator) checkObject(s *schema, path string, value map[string]any, refs int) {
	for _, key := range slices.Sorted(maps.Keys(value)) {
		switch {
		case s.Properties[key] != nil:
			v.check(s.Properties[key], path+"."+key, value[key], refs)
		case s.AdditionalProperties == nil:
		case !s.AdditionalProperties.allowed:
			v.fault(path+"."+key, "is not defined in the schema and the schema does not allow additional properties")
		case s.AdditionalProperties.schema != nil:
			v.check(s.AdditionalProperties.schema, path+"."+key, value[key], refs)
		}
	}
}

func (v *validator) checkText(s *schema, path, value string) {
	if s.Pattern == "" {
		return
	}
	if re, err := regexp.Compile(s.Pattern); err == nil && !re.MatchString(value) {
		v.fault(path, "does not match the regex pattern %s", s.Pattern)
	}
}

func typeOf(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if value == math.Trunc(value) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}
