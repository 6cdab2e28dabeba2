// What the dashboard may be: Grafana's own types, with the options of each kind of panel in the place of "anything".
import type { Dashboard, DataSourceRef, FieldConfig, Panel, RowPanel } from "@grafana/schema";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type {
  FieldConfig as CellConfig,
  Options as Table,
} from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type {
  FieldConfig as GraphConfig,
  Options as TimeSeries,
} from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// The schema has no type for a query of Prometheus.
interface Target {
  refId: string;
  datasource: DataSourceRef;
  expr: string;
  legendFormat: string;
  range: boolean;
  instant?: boolean;
  format?: "time_series" | "table" | "heatmap";
}

type Drawn<Type, Options, Custom> = Omit<Panel, "type" | "options" | "fieldConfig" | "targets"> & {
  type: Type;
  options: Options;
  fieldConfig: {
    defaults: Omit<FieldConfig, "custom"> & { custom?: Custom };
    overrides: NonNullable<Panel["fieldConfig"]>["overrides"];
  };
  targets: Target[];
};

// JSON has no enums: their values are what may stand there.
type Written<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer U)[]
      ? Written<U>[]
      : T extends object
        ? { [K in keyof T]: Written<T[K]> }
        : T;

export type OurDashboard = Written<
  Omit<Dashboard, "panels"> & {
    panels: (
      | Drawn<"stat", Stat, never>
      | Drawn<"table", Table, CellConfig>
      | Drawn<"timeseries", TimeSeries, GraphConfig>
      | RowPanel
    )[];
  }
>;
