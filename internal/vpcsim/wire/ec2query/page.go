package ec2query

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// PageRequest is what a Describe request says about pages.
type PageRequest struct {
	MaxResults *int32
	NextToken  *string
	// Least and Most bound MaxResults; 0 means 5 and 1000.
	Least, Most int32
	// HasIDs is true when the request names its objects: then MaxResults is refused.
	HasIDs bool
	// Query is everything else that selects: a token is good for the same Query only.
	Query any
}

// Check refuses a MaxResults that is out of bounds or stands beside explicit identifiers.
func (p PageRequest) Check() error {
	if p.Least == 0 {
		p.Least = 5
	}
	if p.Most == 0 {
		p.Most = 1000
	}
	if p.MaxResults != nil {
		if p.HasIDs {
			return Errorf("InvalidParameterCombination",
				"The parameter MaxResults cannot be used together with explicit identifiers in the same call")
		}
		if n := *p.MaxResults; n < p.Least || n > p.Most {
			return Errorf("InvalidParameterValue",
				"Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and %d.", n, p.Least, p.Most)
		}
	}
	return nil
}

// Page sorts items by id and returns those of the page that p asks for, and the token of the next page: nil on the last.
// A token is a cursor (the last id seen), not an offset, so a page after a change neither repeats nor skips what stayed.
func Page[T any](items []T, id func(T) string, p PageRequest) ([]T, *string, error) {
	if err := p.Check(); err != nil {
		return nil, nil, err
	}
	slices.SortStableFunc(items, func(a, b T) int { return strings.Compare(id(a), id(b)) })
	hash := queryHash(p.Query)
	if p.NextToken != nil && *p.NextToken != "" {
		after, ok := openToken(*p.NextToken, hash)
		if !ok {
			return nil, nil, Errorf("InvalidPaginationToken", "The specified pagination token is not valid")
		}
		items = slices.DeleteFunc(items, func(x T) bool { return id(x) <= after })
	}
	if p.MaxResults == nil || len(items) <= int(*p.MaxResults) {
		return items, nil, nil
	}
	items = items[:*p.MaxResults]
	token := sealToken(id(items[len(items)-1]), hash)
	return items, &token, nil
}

const hashSize = 12

func queryHash(query any) string {
	b, err := json.Marshal(query)
	if err != nil { // the SDK's inputs marshal; anything else is a query of its own
		b = []byte(err.Error())
	}
	sum := sha256.Sum256(b)
	return string(sum[:hashSize])
}

func sealToken(after, hash string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("1" + hash + after))
}

func openToken(token, hash string) (after string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", false
	}
	return strings.CutPrefix(string(b), "1"+hash)
}
