package ec2

import "fmt"

// Error is an error as EC2 answers it: an HTTP status, a code that clients branch on and a message, parts of which
// some clients parse.
type Error struct {
	Status  int
	Code    string
	Message string
}

// Error implements error in the form that the CLI prints.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// Errorf makes an error with status 400.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Status: 400, Code: code, Message: fmt.Sprintf(format, args...)}
}
