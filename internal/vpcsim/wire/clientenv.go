package wire

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// ClientEnv is what makes unmodified clients talk to a server.
type ClientEnv struct {
	Endpoint string // of the API, for example 127.0.0.1:4566
	Region   string
	// AccessKey and Secret sign; clients insist on some.
	AccessKey, Secret string
	// DataPath is the directory of endpoints.json, for clients older than the variables for endpoints.
	DataPath string
}

// WriteEndpoints writes the endpoints.json that AWS_DATA_PATH leads to. AWS CLI before 2.13 (Debian 12 has 2.9.19) knows
// no variable for endpoints, but looks there for the list of them before its own.
func (c ClientEnv) WriteEndpoints() error {
	type object = map[string]any
	services := object{}
	for _, name := range []string{serviceEC2, serviceEKS, serviceSTS} {
		services[name] = object{"endpoints": object{c.Region: object{
			"hostname": c.Endpoint, "protocols": []string{"http"}, "credentialScope": object{"region": c.Region},
		}}}
	}
	b, err := json.MarshalIndent(object{
		"version": 3,
		"partitions": []object{{
			"partition": "aws", "partitionName": "berth", "dnsSuffix": "amazonaws.com",
			"regionRegex": `^[a-z]{2}(-[a-z]+)+-\d+$`,
			"defaults":    object{"hostname": c.Endpoint, "protocols": []string{"http"}, "signatureVersions": []string{"v4"}},
			"regions":     object{c.Region: object{"description": "simulated"}},
			"services":    services,
		}},
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.DataPath, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", c.DataPath, err)
	}
	return os.WriteFile(filepath.Join(c.DataPath, "endpoints.json"), append(b, '\n'), 0o644)
}

// Lines are the environment variables, as NAME=value.
func (c ClientEnv) Lines() []string {
	url := "http://" + c.Endpoint
	return []string{
		"AWS_DATA_PATH=" + c.DataPath,
		"AWS_ENDPOINT_URL_EC2=" + url,
		"AWS_ENDPOINT_URL_EKS=" + url,
		"AWS_ENDPOINT_URL_STS=" + url,
		"AWS_ACCESS_KEY_ID=" + c.AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + c.Secret,
		"AWS_REGION=" + c.Region,
		"AWS_DEFAULT_REGION=" + c.Region,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_PAGER=",
	}
}
