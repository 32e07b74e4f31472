module github.com/wspush/wspush/docs/check

go 1.25.0

replace github.com/wspush/wspush => ../../

require (
	github.com/aws/aws-lambda-go v1.47.0
	github.com/aws/aws-sdk-go-v2 v1.32.0
	github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi v1.23.0
	github.com/gorilla/websocket v1.5.3
	github.com/olahol/melody v1.4.0
	github.com/wspush/wspush v0.0.0-00010101000000-000000000000
)

require (
	github.com/aws/aws-sdk-go-v2/internal/configsources v1.3.19 // indirect
	github.com/aws/aws-sdk-go-v2/internal/endpoints/v2 v2.6.19 // indirect
	github.com/aws/smithy-go v1.22.0 // indirect
	github.com/coder/websocket v1.8.15 // indirect
	github.com/google/uuid v1.6.0 // indirect
)
