package pacing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Distribution is how long something takes. With P99 zero it is always P50; else it is log-normal through P50 and P99.
// Max, where set, is never exceeded. The zero value takes no time and draws no random number.
type Distribution struct {
	P50 time.Duration `json:"p50,omitempty"`
	P99 time.Duration `json:"p99,omitempty"`
	Max time.Duration `json:"max,omitempty"`
}

// Fixed is the distribution that always takes d.
func Fixed(d time.Duration) Distribution { return Distribution{P50: d} }

// UnmarshalJSON implements json.Unmarshaler: a text is a fixed time, such as "2s"; an object has the members, in
// nanoseconds.
func (d *Distribution) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		fixed, err := time.ParseDuration(text)
		if err != nil || fixed < 0 {
			return fmt.Errorf("read distribution: want a time such as \"2s\", have %q", text)
		}
		*d = Fixed(fixed)
		return nil
	}
	type members Distribution
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	return strict.Decode((*members)(d))
}

// Zero tells whether the distribution never takes any time.
func (d Distribution) Zero() bool { return d.P50 <= 0 && d.P99 <= 0 }

// z99 is the 99th percentile of the standard normal distribution.
const z99 = 2.3263478740408408

// Sample draws a duration.
func (d Distribution) Sample(rng *rand.Rand) time.Duration {
	v := d.P50
	if d.P99 > d.P50 && d.P50 > 0 {
		sigma := math.Log(float64(d.P99)/float64(d.P50)) / z99
		v = time.Duration(float64(d.P50) * math.Exp(sigma*rng.NormFloat64()))
	}
	if d.Max > 0 && v > d.Max {
		v = d.Max
	}
	return max(v, 0)
}
