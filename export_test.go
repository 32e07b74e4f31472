package wspush

// What a bulk request may hold, for tests that measure what it holds.
const BulkIdle = bulkIdle

// BulkMost is bulkMost.
func BulkMost(maxPushBytes int64, isWhole bool) int64 { return bulkMost(maxPushBytes, isWhole) }
