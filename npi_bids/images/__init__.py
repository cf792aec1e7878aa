"""Images in, arrays out. Knows neither BIDS names nor Nipype."""
