package ec2query

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"reflect"
	"strconv"
	"time"
)

const (
	namespace  = "http://ec2.amazonaws.com/doc/2016-11-15/"
	xmlHeader  = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	timeFormat = "2006-01-02T15:04:05.000Z"
)

// Encode writes an Output, a pointer to a structure of the SDK, as the answer to an operation. A nil slice is left out, an
// empty one is an empty element. An Output without members is answered with <return>true</return>, as EC2 does.
func Encode(operation, requestID string, out any) []byte {
	var b bytes.Buffer
	b.WriteString(xmlHeader)
	b.WriteString("<" + operation + `Response xmlns="` + namespace + `">`)
	text(&b, "requestId", requestID)
	v := reflect.ValueOf(out).Elem()
	if len(planOf(v.Type()).response) == 0 {
		text(&b, "return", "true")
	}
	encodeStruct(&b, v)
	b.WriteString("</" + operation + "Response>")
	return b.Bytes()
}

// EncodeError writes an error answer.
func EncodeError(e *Error, requestID string) []byte {
	var b bytes.Buffer
	b.WriteString(xmlHeader + "<Response><Errors><Error>")
	text(&b, "Code", e.Code)
	text(&b, "Message", e.Message)
	b.WriteString("</Error></Errors>")
	text(&b, "RequestID", requestID)
	b.WriteString("</Response>")
	return b.Bytes()
}

func text(b *bytes.Buffer, name, value string) {
	b.WriteString("<" + name + ">")
	_ = xml.EscapeText(b, []byte(value)) // a bytes.Buffer does not fail
	b.WriteString("</" + name + ">")
}

func encodeStruct(b *bytes.Buffer, v reflect.Value) {
	for _, f := range planOf(v.Type()).response {
		encodeValue(b, f.name, f.item, v.Field(f.index))
	}
}

func encodeValue(b *bytes.Buffer, name, item string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			encodePresent(b, name, v.Elem())
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			text(b, name, base64.StdEncoding.EncodeToString(v.Bytes()))
			return
		}
		b.WriteString("<" + name + ">")
		for i := range v.Len() {
			encodePresent(b, item, v.Index(i))
		}
		b.WriteString("</" + name + ">")
	case reflect.String: // an enumeration: empty means absent
		if v.Len() > 0 {
			text(b, name, v.String())
		}
	case reflect.Struct, reflect.Bool, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64:
		encodePresent(b, name, v)
	default: // the SDK has no other members
	}
}

func encodePresent(b *bytes.Buffer, name string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		encodeValue(b, name, "item", v)
	case reflect.Struct:
		if v.Type() == timeType {
			text(b, name, v.Interface().(time.Time).UTC().Format(timeFormat))
			return
		}
		b.WriteString("<" + name + ">")
		encodeStruct(b, v)
		b.WriteString("</" + name + ">")
	case reflect.String:
		text(b, name, v.String())
	case reflect.Bool:
		text(b, name, strconv.FormatBool(v.Bool()))
	case reflect.Int32, reflect.Int64:
		text(b, name, strconv.FormatInt(v.Int(), 10))
	case reflect.Float32, reflect.Float64:
		text(b, name, strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits()))
	default: // the SDK has no other members
	}
}
