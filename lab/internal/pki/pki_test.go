package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/lab/internal/pki"
)

func TestAuthorityIsKeptAndItsCertificatesVerify(t *testing.T) {
	folder := t.TempDir()
	first, err := pki.Open(folder, "ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := first.Issue(pki.Request{
		Name: "node", Groups: []string{"system:nodes"}, Names: []string{"node.example"}, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	again, err := pki.Open(folder, "ca")
	if err != nil {
		t.Fatal(err)
	}
	if string(first.PEM()) != string(again.PEM()) {
		t.Fatal("opening again made another authority")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(again.PEM())
	block, _ := pem.Decode(pair.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"node.example", "10.0.0.1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("verify for %s: %v", name, err)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("verify as a client: %v", err)
	}
	if cert.Subject.CommonName != "node" || cert.Subject.Organization[0] != "system:nodes" {
		t.Errorf("subject is %s", cert.Subject)
	}
	if _, err := tls.X509KeyPair(pair.Cert, pair.Key); err != nil {
		t.Errorf("key does not belong to the certificate: %v", err)
	}
}

func TestOpenRefusesADamagedAuthority(t *testing.T) {
	folder := t.TempDir()
	if _, err := pki.Open(folder, "ca"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "ca.key"), []byte("half a ke"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Open(folder, "ca"); err == nil || !strings.Contains(err.Error(), "remove") {
		t.Errorf("error is %v, want one that says what to do", err)
	}
}

func TestKubeconfig(t *testing.T) {
	text, err := pki.Kubeconfig{Cluster: "c", Server: "https://x", Authority: []byte("A"), User: "u", Pair: pki.Pair{Cert: []byte("C"), Key: []byte("K")}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"current-context: c", "server: https://x", "certificate-authority-data: QQ==", "client-key-data: Sw=="} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
