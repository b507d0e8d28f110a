package aws

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// checkedBody is an HTTP client that refuses a successful answer which is no EC2 response. The SDK takes an empty body, or
// one without any XML element, for a response without members: an instance without interfaces, a VPC without subnets.
type checkedBody struct {
	next interface {
		Do(*http.Request) (*http.Response, error)
	}
}

const (
	peekSize = 1024
	// maxBody bounds an answer, in bytes: a page of a thousand interfaces is about 3 MB.
	maxBody = 64 << 20
)

// Do implements the SDK's HTTP client.
func (c checkedBody) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.next.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	r := bufio.NewReaderSize(io.LimitReader(resp.Body, maxBody), peekSize)
	start, err := r.Peek(peekSize)
	if err != nil && err != io.EOF { //nolint:errorlint // Peek returns it bare
		_ = resp.Body.Close()
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if root := rootElement(start); !bytes.HasSuffix(root, []byte("Response")) {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("the answer is no EC2 response: it begins with %.60q", start)
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{r, resp.Body}
	return resp, nil
}

// rootElement returns the name of the first XML element, nil when there is none.
func rootElement(xml []byte) []byte {
	for {
		i := bytes.IndexByte(xml, '<')
		if i < 0 || i+1 >= len(xml) {
			return nil
		}
		xml = xml[i+1:]
		if xml[0] == '?' || xml[0] == '!' {
			continue
		}
		end := bytes.IndexAny(xml, " \t\r\n/>")
		if end < 0 {
			return nil
		}
		return xml[:end]
	}
}
