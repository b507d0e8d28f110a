package ec2query

import (
	"fmt"
	"net/http"
)

// Error is an EC2 error as it goes over the wire.
type Error struct {
	Status  int // HTTP status; 0 means 400
	Code    string
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// HTTPStatus returns the status to answer with.
func (e *Error) HTTPStatus() int {
	if e.Status == 0 {
		return http.StatusBadRequest
	}
	return e.Status
}

// Errorf returns a client error (status 400).
func Errorf(code, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: code, Message: fmt.Sprintf(format, args...)}
}

// DryRun is what EC2 answers to a permitted request that only asks whether it would be permitted.
func DryRun() *Error {
	return &Error{
		Status:  http.StatusPreconditionFailed,
		Code:    "DryRunOperation",
		Message: "Request would have succeeded, but DryRun flag is set.",
	}
}

func unknownParameter(name string) *Error {
	return Errorf("UnknownParameter", "The parameter %s is not recognized", name)
}

func badValue(name, value, why string) *Error {
	return Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. %s", value, name, why)
}
