"""EfficientNet (Tan and Le, ICML 2019) and EfficientNetV2 (Tan and Le, ICML 2021)."""
