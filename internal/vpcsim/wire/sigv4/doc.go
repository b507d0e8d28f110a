// Package sigv4 verifies AWS Signature Version 4 by signing the request again, in the header form and in the presigned-URL
// form (which EKS tokens are), and keeps the credentials that it verifies with: fixed keys and the temporary ones of roles.
//
// It says who signed; what the signer may do is not its business. A secret never leaves the store except to whoever is
// given the credentials, and never gets into an error.
package sigv4
